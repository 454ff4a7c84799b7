"""A contact sheet: chips that show something, with their tags, and with the probabilities of a run. The README's are

    python experiments/planet_resnet50.py --data synthetic --weights none --arch resnet18 --size 96 --freeze-epochs 0 \\
        --epochs 6 --thresh 0.2 --name sheet
    python experiments/contact_sheet.py --data synthetic --record sheet --out docs/chips.png
    python experiments/contact_sheet.py --data synthetic --record sheet --out docs/chips-dark.png --dark
"""
from planet.cli import UserError, say, script
from planet.options import check_options

def structure(pixels): # uint8 `(height, width, 3)`
    "How much a chip shows beside its texture: the spread of brightness and colour from block to block."
    import numpy as np
    side = len(pixels)//8
    blocks = pixels[:side*8, :side*8].reshape(8, side, 8, side, 3).mean((1, 3))
    return float(np.linalg.norm(blocks.std((0, 1))))

def choose(rows, tags, shows, n):
    "So many rows: each time the one whose tags were shown least, and of those the one with most structure."
    chosen, seen = [], {}
    while len(chosen) < min(n, len(rows)):
        best = max((r for r in rows if r not in chosen),
                   key=lambda r: shows[r]*sum(1/(1 + seen.get(t, 0)) for t in tags[r])/len(tags[r])**.5)
        chosen.append(best)
        for t in tags[best]: seen[t] = seen.get(t, 0) + 1
    return chosen

def draw(pixels, tags, answers, columns, dark, files):
    "The sheet: chips with their tags in the first rows, chips with bars of probabilities in the last."
    from matplotlib.figure import Figure
    from planet.figures import wrap_words
    from planet.plots import BAD, GOOD, MISSED, QUIET
    ink, paper = ('#e6edf3', '#0d1117') if dark else ('#1f2328', '#ffffff')
    colours = dict(zip((GOOD, BAD, MISSED, QUIET), ('#3fb950', '#f85149', '#d29922', '#9198a1'))) if dark else {}
    rows = -(-len(pixels)//columns)
    below = [.95 if any(answers[r*columns:(r+1)*columns]) else .62 for r in range(rows)] # inches under a row's chips
    side, gap, top = 1.75, .12, .2*bool(files)
    foot = .26*any(answers) # inches for what the colours mean
    fig = Figure(figsize=((side + gap)*columns + gap, sum(below) + (side + gap + top)*rows + foot), dpi=100,
                 facecolor=paper)
    width, height = fig.get_size_inches()
    def axes(x, y, w, h): return fig.add_axes([x/width, 1 - (y + h)/height, w/width, h/height])
    for i, chip in enumerate(pixels):
        row, x = i//columns, gap + i%columns*(side + gap)
        y = gap + top + row*(side + gap + top) + sum(below[:row])
        ax = axes(x, y, side, side)
        ax.imshow(chip)
        ax.set_axis_off()
        if files: ax.set_title(files[i], fontsize=7, color=colours.get(QUIET, QUIET), pad=2)
        under = axes(x, y + side + .04, side, below[row] - .1)
        under.set_axis_off()
        if answers[i] is not None: bars(under, tags[i], *answers[i], ink, lambda c: colours.get(c, c))
        else: under.text(.5, .96, '\n'.join(wrap_words(tags[i], side)), ha='center', va='top', fontsize=8.5, color=ink)
    if foot: legend(axes(gap, height - foot, width - 2*gap, foot), next(a[1] for a in answers if a), ink,
                    lambda c: colours.get(c, c))
    return fig

def legend(ax, thresh, ink, colour):
    "One line under the sheet: what the colours of the bars and the dotted line mean."
    from planet.plots import BAD, GOOD, MISSED, QUIET
    words = {GOOD: 'true positive', MISSED: 'false negative', BAD: 'false positive', QUIET: 'true negative'}
    marks = [ax.barh([0], [0], color=colour(kind), label=label) for kind, label in words.items()]
    marks += ax.plot([], [], color=ink, lw=1, ls=':', label=f'threshold {thresh:g}')
    ax.set_axis_off()
    ax.text(0, .5, 'probability of a tag:', va='center', fontsize=8, color=ink, transform=ax.transAxes)
    ax.legend(handles=marks, loc='center left', bbox_to_anchor=(.1, .5), ncols=5, frameon=False, fontsize=8,
              labelcolor=ink, borderpad=0)

def bars(ax, tags, probs, thresh, ink, colour):
    "Probabilities of the likeliest tags as bars against the threshold, and of true tags that were missed."
    from planet.plots import BAD, GOOD, MISSED, QUIET
    shown = sorted(probs, key=lambda t: (-(t in tags), -probs[t]))[:max(5, len(tags))]
    shown = sorted(shown, key=lambda t: -probs[t])[:6]
    for y, tag in enumerate(shown):
        said, true = probs[tag] > thresh, tag in tags
        kind = GOOD if said and true else BAD if said else MISSED if true else QUIET
        ax.barh(y, probs[tag], height=.72, color=colour(kind))
        ax.text(-.03, y, tag, ha='right', va='center', fontsize=7.5, color=ink)
    ax.plot([thresh]*2, [-.6, 5.6], color=ink, lw=1, ls=':')
    ax.set(xlim=(-1.05, 1), ylim=(5.6, -.6))

def predictions(record, runs, place, tags):
    "A run's probabilities by row, tag -> probability, and its threshold; `UserError` where it is of other chips."
    import pandas as pd
    from planet.records import find_run
    run = find_run(record, runs)
    table = pd.read_csv(run.path/'validation.csv')
    if missing := [n for n in table.image_name if n not in place]:
        raise UserError(f'{run.path} was scored on other chips, such as {missing[0]}', option='record')
    probs = table.set_index('image_name')
    return {place[name]: row.to_dict() for name, row in probs.iterrows()}, run.options.get('thresh', .2)

@script
def main(
    data:str='auto', # chips: auto, synthetic, sample, or a folder with a label table and images
    n:int=12, # chips on the sheet
    columns:int=6, # chips in a row
    size:int=200, # height and width of a chip, in pixels
    record:str='', # a run whose probabilities the last row shows, against its threshold: a name or a folder
    runs:str='runs', # where runs are
    dark:bool=False, # a dark background, for pages in dark mode
    names:bool=False, # print the name of its file over each chip
    out:str='chips.png', # the picture to write
):
    "Draw a sheet of chips with their tags; the last row with the probabilities of a run."
    check_options(dict(locals()))
    from planet.images import open_chip
    from planet.plots import as_array
    from planet.sources import find_chips
    chips = find_chips(data)
    tags, place = list(chips.table.tags), {name: i for i, name in enumerate(chips.table.image_name)}
    pixels = {i: as_array(open_chip(path, size)) for i, path in enumerate(chips.paths)}
    shows = {i: structure(p) for i, p in pixels.items()}
    answered, thresh = predictions(record, runs, place, tags) if record else ({}, 0)
    last = choose(list(answered), tags, shows, columns) if answered else []
    rows = choose([i for i in pixels if i not in answered], tags, shows, n - len(last)) + last
    answers = [(answered[i], thresh) if i in last else None for i in rows]
    files = [chips.paths[i].name for i in rows] if names else None
    fig = draw([pixels[i] for i in rows], [tags[i] for i in rows], answers, columns, dark, files)
    try: fig.savefig(out, facecolor=fig.get_facecolor())
    except (OSError, ValueError) as e: raise UserError(f"{out} cannot be written: {e}", option='out') from None
    say(out)
