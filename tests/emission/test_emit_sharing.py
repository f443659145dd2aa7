"""Shared and tied parameters, loops over several tensors, and variables that are needed again."""

from __future__ import annotations

from pathlib import Path

import torch

from dskc.dsl.source import Source

from .compiled import compile_source, load_model

HEAD = "dsk 1\nmodel m {\n"
TAIL = "\n}\ndata { source: random(), classes: 5 }\ntraining { steps: 2 }\noptimizer sgd { lr: 0.1 }\n"


def model_of(body: str, folder: Path) -> tuple[torch.nn.Module, str]:
    files = compile_source(Source("s.dsk", HEAD + body + TAIL))
    model = load_model(files, folder).M()
    model.initialize(3)
    return model, files["model.py"]


def test_tied_and_shared(tmp_path: Path) -> None:
    body = """forward(images: [B, 5], labels: int[B]) {
      a = linear(images, out: 5) as first
      b = linear(a, out: 5) share first
      c = relu(b)
      loss cross_entropy(linear(c, out: 5, bias: true) share first, labels)
    }"""
    model, text = model_of(body, tmp_path)

    assert set(dict(model.named_parameters())) == {"first.weight", "linear.bias"}, text
    assert model.linear.weight is model.first.weight
    x = torch.randn(2, 5)
    w = model.first.weight
    torch.testing.assert_close(model(x), torch.relu(x @ w.T @ w.T) @ w.T + model.linear.bias)


def test_a_repeat_that_uses_parameters_around_it(tmp_path: Path) -> None:
    body = """forward(images: [B, 5], labels: int[B]) {
      x = linear(images, out: 5) as outer
      repeat 3 as layers { x = relu(linear(x, out: 5) as own) + linear(x, out: 5) share outer }
      loss cross_entropy(x, labels)
    }"""
    model, text = model_of(body, tmp_path)

    names = {"outer.weight", *(f"layers.{i}.own.weight" for i in range(3))}
    assert set(dict(model.named_parameters())) == names, text
    x = expected = torch.randn(2, 5)
    expected = x @ model.outer.weight.T
    for layer in model.layers:
        expected = torch.relu(expected @ layer.own.weight.T) + expected @ model.outer.weight.T
    torch.testing.assert_close(model(x), expected)


def test_values_needed_after_a_loop_keep_their_own_variable(tmp_path: Path) -> None:
    body = """forward(images: [B, 5], labels: int[B]) {
      x = relu(images)
      y = x
      first = linear(x, out: 5) as first
      repeat 2 as layers {
        x = linear(x + y, out: 5) as a
        y = relu(x)
      }
      loss cross_entropy(x + y + first + images, labels)
    }"""
    model, text = model_of(body, tmp_path)

    images = torch.randn(3, 5)
    x = y = torch.relu(images)
    first = x @ model.first.weight.T
    for layer in model.layers:
        x = (x + y) @ layer.a.weight.T
        y = torch.relu(x)
    torch.testing.assert_close(model(images), x + y + first + images, msg=text)


def test_the_first_value_of_a_loop_is_needed_again(tmp_path: Path) -> None:
    body = """forward(images: [B, 5], labels: int[B]) {
      start = linear(images, out: 5)
      x = start
      repeat 2 { x = relu(x) + 1 }
      loss cross_entropy(x - start, labels)
    }"""
    model, text = model_of(body, tmp_path)

    images = torch.randn(3, 5)
    start = images @ model.linear.weight.T
    torch.testing.assert_close(model(images), torch.relu(torch.relu(start) + 1) + 1 - start, msg=text)


def test_a_thousand_layers_are_one_class(tmp_path: Path) -> None:
    body = """forward(images: [B, 5], labels: int[B]) {
      x = images
      repeat 1000 as layers { x = linear(x, out: 5) }
      loss cross_entropy(x, labels)
    }"""
    model, text = model_of(body, tmp_path)

    assert len(text.splitlines()) < 80
    assert len(list(model.parameters())) == 1000
