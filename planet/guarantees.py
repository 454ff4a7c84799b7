"""Recall with a guarantee: the threshold that finds at least a share of a tag's chips, with what confidence.

Risk control on the validation set by order statistics; the only assumption is that chips are drawn alike."""
import math
from dataclasses import dataclass
import numpy as np
from planet.cli import UserError, near_names
from planet.model_files import read_model, read_validation

__all__ = ['FEWEST', 'recall_confidence', 'recall_threshold', 'Guarantee']

FEWEST = 30 # positives below which nothing is promised

def recall_confidence(n:int, # positives in the validation set
                      missed:int, # of them that lie below the threshold
                      recall:float, # share that is to be found
                     ) -> float:
    """Probability that a threshold just above the `missed` lowest of `n` positives finds at least `recall` of all.

    The share of positives above the k-th lowest of n is Beta(n-k+1, k) distributed, whatever their distribution
    (the Clopper-Pearson interval is the same statement)."""
    from scipy.stats import beta
    return float(beta.sf(recall, n - missed, missed + 1))

def recall_threshold(scores, # probabilities of the positives
                     recall:float, # share that is to be found, below 1
                     confidence:float=.95,
                    ) -> tuple: # threshold (decide >=), its confidence; `None` where no threshold reaches it
    "The highest threshold that finds at least `recall` of a tag with `confidence`."
    scores, best = np.sort(np.asarray(scores)), None
    for missed in range(len(scores)):
        sure = recall_confidence(len(scores), missed, recall)
        if sure < confidence: break # from here on it only falls
        best = scores[missed], sure
    return best

@dataclass(frozen=True)
class Guarantee:
    "A threshold of one tag that was chosen to find at least a share of its chips."
    tag:str
    column:int # of the tag
    recall:float # asked for
    thresh:float # decide `>=`
    confidence:float # that at least `recall` are found
    positives:int # in the validation set, one a group
    flagged:float # share of the validation chips that lie above

    @classmethod
    def of(cls, folder, # a model folder
           tag:str, recall, confidence:float=.95):
        "Choose the threshold of `tag` on the validation set that the model folder keeps; `UserError` where it cannot."
        tag, vocab, kind = tag.strip(), (facts := read_model(folder, check=False))['vocab'], facts['kind']
        if tag not in vocab:
            near = near_names(tag, vocab) or f": it has {', '.join(vocab)}"
            raise UserError(f'{tag} is no tag of this model{near}', option='recall')
        try: recall = float(recall)
        except (TypeError, ValueError): raise UserError(f'{tag} wants a share, such as {tag}=0.9',
                                                        option='recall') from None
        if not 0 < recall < 1: raise UserError(f'{recall:g} is outside 0 to 1', option='recall')
        if not .5 <= confidence < 1: raise UserError(f'{confidence:g} is outside 0.5 to 1', option='confidence')
        names, probs, targs, groups = read_validation(folder)
        column = vocab.index(tag)
        has = targs == column if kind == 'classes' else targs[:, column] > 0
        lowest = {} # of each group: chips of one scene are no independent draws
        for i in np.flatnonzero(has):
            key = groups[i] if groups else i
            lowest[key] = min(lowest.get(key, 2), probs[i, column])
        scores = np.array(list(lowest.values()), dtype=np.float32)
        if len(scores) < FEWEST:
            raise UserError(f'{tag} has {len(scores)} validation chips{" or groups"*bool(groups)}: with fewer than '
                            f'{FEWEST} nothing can be promised', option='recall')
        found = recall_threshold(scores, recall, confidence)
        if found is None:
            need, reach = math.ceil(math.log(1-confidence)/math.log(recall)), recall_confidence(len(scores), 0, recall)
            raise UserError(f'{tag}={recall:g} needs {need} validation chips with the tag for a confidence of '
                            f'{confidence:g}; there are {len(scores)}, which reach {reach:.2f} at most',
                            option='recall')
        flagged = float((probs[:, column] >= found[0]).mean())
        return cls(tag, column, recall, float(found[0]), found[1], len(scores), flagged)

    def lines(self):
        "What is promised, and what it costs."
        return (f'{self.tag}: a threshold of {self.thresh:.4g} finds at least {self.recall:.0%} of its chips, with '
                f'{self.confidence:.1%} confidence ({self.positives} validation chips have the tag)',
                f'{self.tag}: {self.flagged:.1%} of the validation chips lie above it; this holds for chips drawn as '
                'those were, not for another region, season or sensor')
