"""Running any Keras model as a compiled function, with layers read or replaced.

Keras can name the inside of a model only if that is one graph of Keras tensors, which
Sequential models without Input, nested and subclassed models are not. Here the model is
traced once into a TensorFlow graph instead, and while that happens, the `call` of watched
layers is wrapped on the instance: the wrapper notes the tensors that pass.
"""

from __future__ import annotations

import re
import threading
import traceback
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from whitebox_loc._types import Model, Tensor
from whitebox_loc._validation import shortened
from whitebox_loc.introspect.tracing.fingerprints import model_fingerprint
from whitebox_loc.introspect.tracing.inputs import Inputs, tensor_specs
from whitebox_loc.introspect.tracing.layers import find_layers, named_layers, split_call

Replacement = Callable[[Tensor], Tensor]

_FUNCTIONS_PER_MODEL = 64
_PACKAGE = __name__.partition(".")[0]
# One lock for all models, since models can share layers.
_tracing = threading.RLock()


@dataclass(frozen=True)
class Call:
    """What went into a layer at one of its calls, and what came out."""

    inputs: Tensor
    output: Tensor


@dataclass(frozen=True)
class Traced:
    """A traced function, and what was noted about it while it was traced."""

    function: Callable[..., Any]
    notes: dict[str, Any]

    def __call__(self, *tensors: Tensor) -> Any:
        """Run the function."""
        return self.function(*tensors)


@dataclass(frozen=True)
class Forward:
    """One pass of a model while it is traced: its outputs and the calls of watched layers."""

    outputs: Tensor
    calls: dict[str, list[Call]]
    output_names: list[str] | None = None

    def named_calls(self) -> dict[str, Call]:
        """Return the calls by path, or by ``path#1``, ``path#2`` of layers called again."""
        return {
            path if len(calls) == 1 else f"{path}#{number}": call
            for path, calls in self.calls.items()
            for number, call in enumerate(calls, start=1)
        }

    def single_call(self, name: str) -> Call:
        """Return the one call that `name` stands for."""
        path, number = split_call(name)
        calls = self.calls[path]
        if number is None and len(calls) != 1:
            names = [f"{path}#{i}" for i in range(1, len(calls) + 1)]
            raise ValueError(f"Layer {path!r} is called {len(calls)} times; name one of {names}.")
        if number is not None and not 1 <= number <= len(calls):
            raise ValueError(f"Layer {path!r} is called {len(calls)} times; got {name!r}.")
        return calls[(number or 1) - 1]


def traced(
    model: Model,
    key: Hashable | None,
    inputs: Inputs,
    build: Callable[..., Any],
    *,
    extra: Sequence[Any] = (),
    notes: dict[str, Any] | None = None,
) -> Traced:
    """Return ``build(*tensors)`` as a compiled function, traced once per model and `key`.

    `key` is everything that `build` depends on besides the model and the shapes; it must not
    keep the model alive, and with None the function is not kept. `inputs` and `extra` are
    examples of the tensors, arrays with any number of rows, or in `extra` specs, as they are.
    `notes`, which `build` fills while it is traced, is kept with the function.
    """
    specs = tensor_specs(inputs.arrays)
    specs += [s if isinstance(s, tf.TensorSpec) else tensor_specs([s])[0] for s in extra]
    if key is not None:
        key = (key, inputs.signature, *((tuple(s.shape), s.dtype) for s in specs))
    # Under the lock also for a look: another thread's wrappers would pass for new settings of
    # layers, with which functions go.
    with _tracing:
        state = model_fingerprint(model)
        if _caches.get(model, (None,))[0] != state:
            _caches[model] = (state, OrderedDict())
        functions = _caches[model][1]
        function = functions.get(key)
        if function is not None:
            functions.move_to_end(key)
            return function
        _build_weights(model, inputs)
        function = Traced(trace(build, specs), {} if notes is None else notes)
        if key is not None:
            functions[key] = function
            if len(functions) > _FUNCTIONS_PER_MODEL:
                functions.popitem(last=False)
        # What the model's own code notes down while it is built and traced is no new setting.
        _caches[model] = (model_fingerprint(model), functions)
    return function


def trace(build: Callable[..., Any], specs: Sequence[tf.TensorSpec]) -> Any:
    """Trace ``build(*tensors)`` into a concrete function, alone among all threads."""
    with _tracing:
        # Keras' own predict runs user code without autograph, too.
        return tf.function(build, autograph=False).get_concrete_function(*specs)


def forward(
    model: Model,
    inputs: Tensor,
    *,
    watch: Sequence[str] = (),
    replace: Mapping[str, Replacement] | None = None,
    require: bool = True,
) -> Forward:
    """Run `model` in inference inside a trace, noting and replacing outputs of layers.

    `inputs` are tensors in the structure that the model takes, `watch` layers whose calls are
    noted, `replace` functions from a layer's output to what is passed on in its place. A layer
    that does not exist is a ValueError, and so, unless `require` is False, one that is not reached.
    """
    replace = dict(replace or {})
    layers = find_layers(model, [*watch, *replace])
    wrappers = [_Wrapper(path, layer, replace) for path, layer in layers.items()]
    with ExitStack() as stack:
        stack.enter_context(_losses_restored(model))
        for wrapper in wrappers:
            stack.enter_context(wrapper.in_place())
        outputs = _run(model, inputs)
    if require:
        for wrapper in wrappers:
            wrapper.check()
    calls = {wrapper.path: wrapper.calls for wrapper in wrappers if wrapper.calls}
    return Forward(outputs, calls, getattr(model, "output_names", None))


def _run(model: Model, inputs: Tensor) -> Tensor:
    """Call a model; an error of its own is raised again with the shapes of its inputs."""
    try:
        return model(inputs, training=False)
    except Exception as error:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        # Of this package, in a layer that it wraps; Keras keeps the traceback, but no notes.
        raised_here = frames[-1].f_globals.get("__name__", "").partition(".")[0] == _PACKAGE
        if raised_here or any(frame.f_code is call_given.__code__ for frame in frames):
            raise
        shapes = [("n", *t.shape[1:]) for t in tf.nest.flatten(inputs)]
        text = ", ".join(str(shape).replace("'", "") for shape in shapes)
        raise ValueError(
            f"`model` {model.name!r} cannot be run on `images`, or an `example`, of shape {text}: "
            f"{first_line(error)} Pass images of the size and channels that it takes."
        ) from error


def call_given(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a user's function, the argument `name`; its errors pass, with a note on where."""
    try:
        return function(*arguments)
    except Exception as error:
        shapes = ", ".join(map(_shapes, arguments))
        error.add_note(f"Raised by the function in `{name}`, called with {shapes}.")
        raise


def _shapes(argument: object) -> str:
    parts = tf.nest.flatten(argument)
    if not all(hasattr(part, "shape") for part in parts):
        return f"a {type(argument).__name__}"
    shapes = [tuple(part.shape) for part in parts]
    return f"numbers of shape {shortened(shapes[0] if len(shapes) == 1 else shapes)}"


def first_line(error: Exception) -> str:
    """Return an error's text in a line; Keras has the sentence in bold among its arguments."""
    bold = re.search(r"\x1b\[1m(.*?)\x1b\[0m", str(error), re.DOTALL)
    sentence = bold.group(1) if bold else str(error)
    return f"{type(error).__name__}: {(sentence.strip() or '-').splitlines()[0].rstrip('.')[:250]}."


@dataclass
class _Wrapper:
    """Stands in for the `call` of one layer while a model is traced."""

    path: str
    layer: keras.Layer
    replace: Mapping[str, Replacement]
    calls: list[Call] = field(default_factory=list)
    hidden: bool = False

    @contextmanager
    def in_place(self) -> Iterator[None]:
        # Through __dict__, because Keras tracks and may refuse ordinary assignment.
        attributes = vars(self.layer)
        own, original = "call" in attributes, self.layer.call
        thread, graph = threading.get_ident(), tf.compat.v1.get_default_graph()

        def call(*args: Any, **kwargs: Any) -> Any:
            output = original(*args, **kwargs)
            if threading.get_ident() != thread:
                return output
            if tf.compat.v1.get_default_graph() is not graph:
                # A loop or the user's own tf.function: its graph is kept by TensorFlow,
                # so a replacement would stay in it for ever.
                self.hidden = True
                return output
            return self._pass(args[0] if args else kwargs, output)

        attributes["call"] = call
        try:
            yield
        finally:
            if own:
                attributes["call"] = original
            else:
                del attributes["call"]

    def _pass(self, inputs: Tensor, output: Tensor) -> Tensor:
        number = len(self.calls) + 1
        for name in (self.path, f"{self.path}#{number}"):
            if name in self.replace:
                output = self.replace[name](output)
        self.calls.append(Call(inputs, output))
        return output

    def check(self) -> None:
        if self.hidden:
            raise ValueError(
                f"Layer {self.path!r} runs inside a tf.function, loop or condition of the "
                "model's own, where its tensors cannot be read. Call the layer outside of it."
            )
        if not self.calls:
            raise ValueError(
                f"Layer {self.path!r} is not called when the model runs in inference, or only "
                "inside a tf.function that has been traced before."
            )
        for name in self.replace:
            path, number = split_call(name)
            if path == self.path and (number or 1) > len(self.calls):
                raise ValueError(f"Layer {path!r} is called {len(self.calls)} times; got {name!r}.")


@contextmanager
def _losses_restored(model: Model) -> Iterator[None]:
    """Put back the losses (of activity regularizers) that calling the model replaces."""
    layers = model._flatten_layers()
    before = [(list(layer._losses), set(_loss_ids(layer))) for layer in layers]
    try:
        yield
    finally:
        for layer, (losses, ids) in zip(layers, before, strict=True):
            layer._losses[:] = losses
            _loss_ids(layer).clear()
            _loss_ids(layer).update(ids)


def _loss_ids(layer: keras.Layer) -> set[int]:
    return getattr(layer, "_loss_ids", set())  # since Keras 3.13


_caches: weakref.WeakKeyDictionary[Any, tuple[Hashable, OrderedDict[Hashable, Traced]]]
# Values must not refer to the model, or it would never be freed: they are concrete
# functions, which hold graphs and handles of variables but no Python object of the model's.
_caches = weakref.WeakKeyDictionary()


def _build_weights(model: Model, inputs: Inputs) -> None:
    """Call the model once if it has no weights yet: a trace must not create variables."""
    if model.built and all(layer.built for layer in named_layers(model).values()):
        return
    if isinstance(model, keras.Sequential) and not inputs.others:
        # A call would fix the number of images in the graph that Keras builds inside.
        model.build((None, *inputs.image.shape[1:]))
    with _losses_restored(model):
        _run(model, inputs[:1].packed)
