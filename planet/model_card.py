"The model card of a model folder: what it tags, how well, how it decides, what it was trained on, how to use it."

__all__ = ['card', 'rule_words']

def rule_words(facts:dict, # of a `model.json`
              ) -> str:
    "The decision rule in words."
    rule = facts['rule']
    if rule['kind'] == 'argmax': return 'the likeliest class'
    if rule.get('one'):
        plain = rule_words(dict(rule=rule | dict(one=None)))
        return f"{plain}, and of {', '.join(facts['vocab'][i] for i in rule['one'])} exactly one, the likeliest"
    if rule['kind'] == 'expected': return 'the tag set of highest expected F2'
    if isinstance(rule['thresh'], list): return 'every tag above a threshold of its own'
    return f"every tag above {rule['thresh']:g}"

def _cell(value): return '-' if value is None else f'{value:.3f}' if isinstance(value, float) else str(value)

def _score(facts):
    head = facts['headline']
    if head.get('value') is None: return 'It was not scored.'
    between = head.get('interval')
    return (f"{head['label']}: **{head['value']:.4f}**"
            + (f" (95 % interval {between[0]:.3f} to {between[1]:.3f})" if between else '')
            + f" on {facts['trained_on'].get('valid', '?')} chips that it was not trained on.")

def card(facts:dict, # what `model.json` says
        ) -> str: # Markdown
    "A model card in Markdown."
    trained, given, members = facts['trained_on'], facts['input'], facts['members']
    arch = ', '.join(dict.fromkeys(str(m['settings'].get('arch')) for m in members))
    how = 'stacked' if facts.get('stacker') else 'averaged'
    many = f' ({len(members)} networks, {how})' if len(members) > 1 else ''
    lines = [f'# Tags of satellite chips: {arch}{many}', '', _score(facts), '', '## Use', '',
             '    planet-tag THIS_FOLDER chips/', '',
             'or, in Python,', '', '    from planet.inference import Tagger',
             "    tagger = Tagger.load('THIS_FOLDER')", '',
             'Nothing in this folder runs code when it is loaded.', '', '## What it takes and gives', '',
             f"- Images of {given['size']} x {given['size']} pixels, bands {', '.join(given['bands'])}; "
             'larger chips are scaled to that',
             f"- {len(facts['vocab'])} tags: {', '.join(facts['vocab'])}",
             f'- Decision: {rule_words(facts)}' + ', after calibration of each tag'*bool(facts.get('calibration')),
             f"- Probabilities are averaged over {members[0]['views']} flips and rotations of a chip"
             if members[0]['views'] > 1 else '- One view of each chip', '', '## Trained on', '',
             *(f'- {k}: {v}' for k, v in trained.items() if v not in (None, ''))]
    if facts.get('tags'):
        lines += ['', '## By tag', '', '| tag | chips | precision | recall | F2 |', '| --- | --- | --- | --- | --- |']
        for tag, row in facts['tags'].items():
            numbers = (row.get(k) for k in ('precision', 'recall', 'fbeta'))
            lines.append(f"| {tag} | {int(row.get('count') or 0)} | {' | '.join(map(_cell, numbers))} |")
    if facts.get('exports'): lines += ['', '## Exports', '', *(
        f"- {kind}: logits differ from torch's by at most {e['logits_apart']:.2g}; score {e['score']:.4f} beside "
        f"{e['torch']:.4f} on {e['chips']} validation chips" for kind, e in facts['exports'].items())]
    if facts['warnings']: lines += ['', '## Warnings', '', *(f'- {w}' for w in facts['warnings'])]
    made = facts.get('made') or {}
    said = ', '.join(f'{k} {v}' for k, v in (made.get('versions') or {}).items())
    return '\n'.join([*lines, '', f"Written {made.get('time', '')} with {said}.", ''])
