"""The same saliency work done by tf-keras-vis and xplique, timed as in saliency_speed.py.

pip install -r benchmarks/requirements-rivals.txt
python benchmarks/rivals.py                            # every method of theirs
python benchmarks/rivals.py --methods gradient lime    # some
"""

from __future__ import annotations

import argparse

import numpy as np
import tensorflow as tf
from saliency_speed import OPTIONS, SIZE, in_turns

import whitebox_loc as wb


def main() -> None:
    """Print the time of each rival as a multiple of ours."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="*", default=list(wb.introspect.METHODS))
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    model = wb.models.localizer(size=SIZE, head="dense")
    images = wb.data.generate(wb.data.Scene(size=SIZE), 256, seed=0).images
    print("| method | rival | its time / ours, 256 images |\n|---|---|---|")
    for method in arguments.methods:
        options = OPTIONS.get(method, {})
        for rival, table in (("tf-keras-vis", keras_vis(model)), ("xplique", xplique(model))):
            if method not in table:
                continue
            ours, theirs = (
                lambda o=options, m=method: wb.introspect.saliency(model, images, "top", m, **o),
                lambda run=table[method]: run(images),
            )
            try:
                spent = in_turns([ours, theirs], arguments.repeats)
                result = f"{spent[1] / spent[0]:.2f}"
            except Exception as error:
                result = f"fails: {type(error).__name__}: {str(error).splitlines()[0][:80]}"
            print(f"| {method} | {rival} | {result} |", flush=True)


def keras_vis(model):
    """Return tf-keras-vis' functions of images, by our names."""
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
    from tf_keras_vis.layercam import Layercam
    from tf_keras_vis.saliency import Saliency
    from tf_keras_vis.scorecam import Scorecam

    def score(output):
        return output[:, 0]

    def saliency(images, **options):
        return Saliency(model)(score, images, normalize_map=False, **options)

    samples = OPTIONS["smoothgrad"]["samples"]
    return {
        "gradient": saliency,
        "smoothgrad": lambda x: saliency(x, smooth_samples=samples, smooth_noise=0.1),
        "gradcam": lambda x: Gradcam(model)(score, x, penultimate_layer="conv4"),
        "gradcam_plus_plus": lambda x: GradcamPlusPlus(model)(score, x, penultimate_layer="conv4"),
        "layercam": lambda x: Layercam(model)(score, x, penultimate_layer="conv4"),
        "scorecam": lambda x: Scorecam(model)(score, x, penultimate_layer="conv4", batch_size=256),
    }


def xplique(model):
    """Return xplique's functions of images, by our names."""
    from xplique import attributions

    def operator(network, inputs, targets):
        return tf.reduce_sum(network(inputs) * targets, axis=-1)

    def run(kind, **options):
        explainer = getattr(attributions, kind)(model, batch_size=256, operator=operator, **options)
        return lambda x: explainer(x, np.tile(np.eye(4, dtype="float32")[:1], (len(x), 1)))

    def grid(image):
        row, column = np.arange(SIZE[0]) * 4 // SIZE[0], np.arange(SIZE[1]) * 4 // SIZE[1]
        return tf.constant(row[:, None] * 4 + column, tf.int32)

    segments = {"map_to_interpret_space": grid, "ref_value": np.zeros(1, "float32")}
    noisy = {"nb_samples": OPTIONS["smoothgrad"]["samples"], "noise": 0.1}
    return {
        "gradient": run("Saliency"),
        "gradient_x_input": run("GradientInput"),
        "integrated_gradients": run(
            "IntegratedGradients", steps=OPTIONS["integrated_gradients"]["steps"]
        ),
        "smoothgrad": run("SmoothGrad", **noisy),
        "squaregrad": run("SquareGrad", **noisy),
        "vargrad": run("VarGrad", **noisy),
        "guided_backprop": run("GuidedBackprop"),
        "deconvnet": run("DeconvNet"),
        "gradcam": run("GradCAM", conv_layer="conv4"),
        "gradcam_plus_plus": run("GradCAMPP", conv_layer="conv4"),
        "occlusion": run("Occlusion", patch_size=16, patch_stride=16),
        "rise": run("Rise", nb_samples=OPTIONS["rise"]["samples"]),
        "kernel_shap": run("KernelShap", nb_samples=OPTIONS["kernel_shap"]["samples"], **segments),
        "lime": run("Lime", nb_samples=OPTIONS["lime"]["samples"], **segments),
        "sobol": run("SobolAttributionMethod", nb_design=OPTIONS["sobol"]["samples"]),
        "hsic": run("HsicAttributionMethod", nb_design=OPTIONS["hsic"]["samples"]),
    }


if __name__ == "__main__":
    main()
