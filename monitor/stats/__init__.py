"""Pure estimators, nulls and decisions: tensors and numbers in, tensors and numbers out."""

from monitor.stats.attribution import RjsdAttribution, rjsd_attribution
from monitor.stats.blocks import BlockDispersion, block_dispersion
from monitor.stats.bound import Bound, emid_bound, emid_bound_unscaled, input_bound
from monitor.stats.burn_in import (
    BurnIn,
    ShareBurnIn,
    dependence,
    share_of_windows,
    windows_needed,
)
from monitor.stats.club import ClubMoments, MiEstimate, Prediction, club_terms, mutual_information
from monitor.stats.decision import (
    DIRECTIONS,
    Decision,
    Direction,
    alpha_per_test,
    calibrate_threshold,
    decide,
    p_value,
)
from monitor.stats.emi import PairedInformation, emi, emi_terms, emid, paired_information
from monitor.stats.influence import Influence, Side, gap_influence, rjsd_influence
from monitor.stats.moments import SecondMoments, entropy_of_rows, von_neumann_entropy
from monitor.stats.novelty import ShareNull, novelty_threshold, share
from monitor.stats.null import Null, null_sizes, pseudo_windows
from monitor.stats.rjsd import Spectrum, rjsd, rjsd_from
from monitor.stats.sequential import Evidence, accumulate, rank_score, share_score
from monitor.stats.states import StatesNull, largest_change

__all__ = [
    "DIRECTIONS",
    "BlockDispersion",
    "Bound",
    "BurnIn",
    "ClubMoments",
    "Decision",
    "Direction",
    "Evidence",
    "Influence",
    "MiEstimate",
    "Null",
    "PairedInformation",
    "Prediction",
    "RjsdAttribution",
    "SecondMoments",
    "ShareBurnIn",
    "ShareNull",
    "Side",
    "Spectrum",
    "StatesNull",
    "accumulate",
    "alpha_per_test",
    "block_dispersion",
    "calibrate_threshold",
    "club_terms",
    "decide",
    "dependence",
    "emi",
    "emi_terms",
    "emid",
    "emid_bound",
    "emid_bound_unscaled",
    "entropy_of_rows",
    "gap_influence",
    "input_bound",
    "largest_change",
    "mutual_information",
    "novelty_threshold",
    "null_sizes",
    "p_value",
    "paired_information",
    "pseudo_windows",
    "rank_score",
    "rjsd",
    "rjsd_attribution",
    "rjsd_from",
    "rjsd_influence",
    "share",
    "share_of_windows",
    "share_score",
    "von_neumann_entropy",
    "windows_needed",
]
