"""Facts of Kaggle's 'Planet: Understanding the Amazon from Space': tags, weather, quirks of the table, file layout.

All that is particular to the competition's data is here; nothing reads a chip or the network.
"""
import csv
from collections import Counter
from pathlib import Path

__all__ = ['COMPETITION', 'WEATHER', 'TAGS', 'CHIP_SIZE', 'PIXEL_METRES', 'BANDS', 'folder', 'ROWS', 'ROWS_REPEATING',
           'ROWS_UNSORTED', 'NO_WEATHER', 'tag_sets', 'tag_counts', 'is_competition_vocab']

COMPETITION = 'planet-understanding-the-amazon-from-space'
folder = Path('data/planet') # where `planet-data get kaggle` puts the competition's files and `auto` finds them

WEATHER = 'clear', 'partly_cloudy', 'haze', 'cloudy' # a chip has exactly one of these
TAGS = tuple(sorted((*WEATHER, 'agriculture', 'artisinal_mine', 'bare_ground', 'blooming', 'blow_down',
                     'conventional_mine', 'cultivation', 'habitation', 'primary', 'road', 'selective_logging',
                     'slash_burn', 'water')))
CHIP_SIZE = 256 # pixels a side
PIXEL_METRES = 3.7 # about: what one measures on the ground, so that a chip covers 0.9 square kilometres
BANDS = 'blue', 'green', 'red', 'nir' # of the TIFFs, in the order of the file

# What is odd in the competition's own table, and accepted: rows that repeat a tag, rows that are not in alphabetical
# order, and the one chip that has no weather
ROWS, ROWS_REPEATING, ROWS_UNSORTED, NO_WEATHER = 40_479, 73, 98, {'train_24448'}

def tag_sets() -> Counter: # tuple of tags -> chips
    "How many chips of the competition's training table have each tag set (411 distinct sets of 40,479 chips)."
    with open(Path(__file__).with_name('tag_sets.csv'), newline='', encoding='utf-8') as f:
        return Counter({tuple(row['tags'].split()): int(row['count']) for row in csv.DictReader(f)})

def tag_counts(sets, # tuples of tags, or a `Counter` of them
              ) -> Counter: # tag -> chips
    "How many chips have each tag."
    counts = Counter()
    for tags, n in Counter(sets).items():
        for tag in tags: counts[tag] += n
    return counts

def is_competition_vocab(vocab) -> bool:
    "Whether a vocab is the competition's, or nearly so."
    return len(set(vocab) & set(TAGS)) > max(len(TAGS), len(vocab))/2
