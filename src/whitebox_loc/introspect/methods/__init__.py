"""The saliency methods, one row each.

To add a method: a function from a `Query` and keyword options to `Maps`, and a row here.
"""

import sys

from whitebox_loc.introspect.methods.cam import cams, channels
from whitebox_loc.introspect.methods.gradient import gradients, noise
from whitebox_loc.introspect.methods.intervention import moved_edges
from whitebox_loc.introspect.methods.perturbation import occlusion_and_rise, sensitivity, surrogates
from whitebox_loc.introspect.methods.propagation import deeplift, lrp, rules
from whitebox_loc.introspect.methods.record import Maps, Method

__all__ = ["METHODS", "Maps", "Method", "rules"]

_ROWS = (
    Method("gradient", "gradient", gradients.gradient, "K. Simonyan et al., 2014, arXiv:1312.6034",
        "changes larger than tiny ones: a saturated output or a closed ReLU has gradient 0"),
    Method("gradient_x_input", "gradient", gradients.gradient_x_input,
        "A. Shrikumar et al., 2016, arXiv:1605.01713",
        "black pixels: whatever they do for the output, they are multiplied by 0"),
    Method("integrated_gradients", "gradient", gradients.integrated_gradients,
        "M. Sundararajan et al., 2017, arXiv:1703.01365",
        "pixels that equal the baseline: with a black one, the dark side of every edge"),
    Method("expected_gradients", "gradient", gradients.expected_gradients,
        "G. Erion et al., 2021, arXiv:1906.10670",
        "nothing systematically, if the baselines differ; it is a random estimate"),
    Method("blur_ig", "gradient", gradients.blur_ig, "S. Xu et al., 2020, arXiv:2004.03383",
        "what blurring leaves as it is: the inside of areas larger than the blur"),
    Method("guided_backprop", "gradient", gradients.guided_backprop,
        "J. T. Springenberg et al., 2015, arXiv:1412.6806",
        "negative evidence, and largely the model: it redraws the edges of the image"),
    Method("deconvnet", "gradient", gradients.deconvnet,
        "M. D. Zeiler and R. Fergus, 2014, arXiv:1311.2901",
        "negative evidence, and which ReLUs the image has closed"),
    Method("smoothgrad", "gradient", noise.smoothgrad, "D. Smilkov et al., 2017, arXiv:1706.03825",
        "what the base method cannot, and detail finer than the noise leaves intact", wraps=True),
    Method("squaregrad", "gradient", noise.squaregrad, "S. Hooker et al., 2019, arXiv:1806.10758",
        "signs: which pixels push the coordinate up and which down", wraps=True),
    Method("vargrad", "gradient", noise.vargrad, "J. Adebayo et al., 2018, arXiv:1810.03307",
        "signs, and every effect that noise does not change: a linear model has "
        "variance 0", wraps=True),
    Method("gradcam", "cam", cams.gradcam, "R. R. Selvaraju et al., 2017, arXiv:1610.02391",
        "where in a feature map the target reads: one weight stands for all places of a channel, "
        "so opposite effects at two edges cancel; with relu=True all that lowers the target"),
    Method("gradcam_plus_plus", "cam", cams.gradcam_plus_plus,
        "A. Chattopadhay et al., 2018, arXiv:1710.11063",
        "what Grad-CAM cannot: for outputs with gradients far below 1, such as coordinates, it "
        "is nearly a multiple of it"),
    Method("layercam", "cam", cams.layercam,
        "P.-T. Jiang et al., 2021, doi:10.1109/TIP.2021.3089943",
        "places where the feature is 0, whatever a feature there would do: closed ReLUs"),
    Method("xgradcam", "cam", cams.xgradcam, "R. Fu et al., 2020, arXiv:2008.02312",
        "where in a feature map the target reads; unstable in channels whose positive and "
        "negative features cancel, so best behind a ReLU"),
    Method("eigencam", "cam", cams.eigencam, "M. B. Muhammad and M. Yeasin, 2020, arXiv:2008.00299",
        "the target: all targets have the same map, and its sign is a convention"),
    Method("scorecam", "cam", channels.scorecam, "H. Wang et al., 2020, arXiv:1910.01279",
        "where in a feature map the target reads, and black pixels: seen through any map they "
        "stay black with a black baseline"),
    Method("ablationcam", "cam", channels.ablationcam,
        "S. Desai and H. G. Ramaswamy, 2020, doi:10.1109/WACV45572.2020.9093360",
        "where in a feature map the target reads, and channels that stand in for one another"),
    Method("lrp", "propagation", lrp.lrp,
        "S. Bach et al., 2015, doi:10.1371/journal.pone.0130140; G. Montavon et al., 2019, "
        "doi:10.1007/978-3-030-28954-6_10",
        "black pixels, except with the rules flat, w_square and z_box in the first layer; a "
        "saturated softmax or sigmoid, and what biases account for"),
    Method("deeplift", "propagation", deeplift.deeplift,
        "A. Shrikumar et al., 2017, arXiv:1704.02685",
        "pixels that equal the baseline, and effects in which two pixels stand in for each other"),
    Method("deep_shap", "propagation", deeplift.deep_shap,
        "S. Lundberg and S.-I. Lee, 2017, arXiv:1705.07874",
        "interactions of pixels: it is DeepLIFT's share, not a Shapley value of the whole model"),
    Method("occlusion", "perturbation", occlusion_and_rise.occlusion,
        "M. D. Zeiler and R. Fergus, 2014, arXiv:1311.2901",
        "pixels that equal the baseline, detail finer than the patch, and evidence that exists "
        "twice: hiding one place of it changes nothing"),
    Method("rise", "perturbation", occlusion_and_rise.rise,
        "V. Petsiuk et al., 2018, arXiv:1806.07421",
        "pixels that equal the baseline, and detail finer than a cell; it is a random estimate"),
    Method("drise", "perturbation", occlusion_and_rise.drise,
        "V. Petsiuk et al., 2021, arXiv:2006.03204",
        "the coordinate: all targets have the map of the whole box; and what RISE cannot"),
    Method("kernel_shap", "perturbation", surrogates.kernel_shap,
        "S. M. Lundberg and S.-I. Lee, 2017, arXiv:1705.07874",
        "detail inside a segment, which parts of segments act only together, and segments that "
        "equal the baseline"),
    Method("lime", "perturbation", surrogates.lime, "M. T. Ribeiro et al., 2016, arXiv:1602.04938",
        "detail inside a segment, whatever is not linear in which segments are seen, and "
        "segments that equal the baseline"),
    Method("sobol", "perturbation", sensitivity.sobol, "T. Fel et al., 2021, arXiv:2111.04138",
        "signs: how much each segment moves the target, not whether up or down; detail inside a "
        "segment, and segments that equal the baseline"),
    Method("hsic", "perturbation", sensitivity.hsic, "P. Novello et al., 2022, arXiv:2206.06219",
        "signs; segments that act only together; detail inside a segment, and segments that "
        "equal the baseline. Independent segments have small positive values"),
    Method("edge_move", "intervention", moved_edges.edge_move,
        "J. Pearl, Causality, 2009, doi:10.1017/CBO9780511803161: interventions; here on the "
        "scene that is drawn",
        "which pixels of an edge's line matter, since all of them change together; and every "
        "pixel off the edges, whatever it does for the target"),
)  # fmt: skip

METHODS = {row.name: row for row in _ROWS}
"""Name to method: what `saliency` can be asked for."""

# The public name of the rules of `lrp`, wherever their file lies.
sys.modules[f"{__name__}.rules"] = rules
