"The benchmark of speed: its table of ratios, turns of the rivals, and watching a command."
import sys
from importlib import import_module
from inspect import signature
import pytest
from experiments.bench import speed
from planet.cli import UserError

def test_ratios_say_how_many_times_better_ours_is(capsys):
    table = speed.Table()
    for rival, chips, seconds in (('ours', 4000, 2.), ('stock', 200, 3.), ('floor', 8000, 1.)):
        table.add('loading', 'later', rival, chips, 'chips/s')
        table.add('step', 'bs 64', rival, seconds, 's')
    rows = [line for line in table.markdown('a machine').splitlines() if line.startswith(('| loading', '| step'))]
    assert [row.split('|')[-2].strip() for row in rows] == ['', '', '20.00', '1.50', '0.50', '0.50']
    assert 'stock' in capsys.readouterr().out

def test_rivals_take_turns():
    calls = []
    def rival(name, seconds): return lambda: calls.append(name) or seconds.pop(0)
    found = speed.take_turns(dict(a=rival('a', [9, 1, 2, 3]), b=rival('b', [9, 4, 4, 4])), 3)
    assert found == dict(a=2, b=4) and ''.join(calls) == 'baabbaab'

def test_a_watched_command():
    code = 'import time; print("one", flush=True); time.sleep(.3); print("epoch 1  f2 0.9")'
    lines, times, seconds, memory = speed.watch([sys.executable, '-c', code])
    assert lines == ['one', 'epoch 1  f2 0.9'] and times[1] - times[0] > .2 and seconds >= times[1] and 0 <= memory < 1
    with pytest.raises(UserError, match='ended with 3: last words'):
        speed.watch([sys.executable, '-c', 'print("last words"); raise SystemExit(3)'])

def test_an_unknown_section():
    with pytest.raises(UserError, match='`only` loadin is unknown: some of startup, loading'): speed.main(only='loadin')

def test_commands_ask_for_what_their_recipe_takes():
    from planet.options import chip_options, options
    o = options(chip_options(epochs=2, data='x'), thresh=.2)
    finetune, frozen = (speed.main_command(o, 'out', recipe) for recipe in ('finetune', 'frozen'))
    assert '--epochs' in finetune and '--epochs' not in frozen and 'None' not in map(str, finetune)

def test_drawn_chips_are_measured_in_all_sections(tmp_path, monkeypatch):
    "What a machine with a GPU runs on 40,479 chips, on few of them: every section has ours and the floor."
    monkeypatch.syspath_prepend(str(speed.ROOT/'experiments/bench')) # as a script finds the files beside it
    out = tmp_path/'speed.md'
    speed.main(only='loading,step,epoch,inference', drawn=40, size=32, bs=8, arch='resnet18', weights='none', repeats=1,
               steps=1, rivals='floor', out=str(out))
    rows = [[cell.strip() for cell in line.split('|')] for line in out.read_text(encoding='utf-8').splitlines()]
    figures = {(r[1], r[2]): float(r[3].split()[0].replace(',', '')) for r in rows if len(r) == 7 and ':' in r[1]}
    for rival in ('ours', 'floor'):
        for what in ('loading: first epoch', 'loading: later epochs', 'step: batches of 8', 'epoch: all layers',
                     'inference: 1 view', 'inference: 8 views'): assert figures[what, rival] > 0

@pytest.mark.parametrize('name', ['compare_losses', 'bench.label_errors', 'bench.recipe', 'bench.speed',
                                  'bench.techniques'])
def test_scripts_without_recipes_offer_no_options_of_recipes(name):
    "They would take them and use none."
    main = import_module(f'experiments.{name}').main
    assert not {'mixup', 'light', 'body_lr', 'recipe'} & set(signature(main).parameters)
