"""Another environment's interpreter is driven from outside, and what it leaves is not trusted.

Most tests run a real child process: an interpreter of a virtual environment made on the spot, with
other scripts in the place of ours. Those of the library itself look for an environment that has it.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest
import torch
from packed_weights import divergence, nano_rows, unpacked
from safetensors.torch import load_file
from tiny_models import SHAPE, tiny_model

from tunesmith import DataError, ModelError, Quantizer
from tunesmith.models import load_model, load_tokenizer, resolve_model, save_model
from tunesmith.plugins import build
from tunesmith.training.scratch import new_model
from tunesmith_plugins.quantizers import llm_compressor_process as process
from tunesmith_plugins.quantizers.llm_compressor import LlmCompressor
from tunesmith_plugins.quantizers.llm_compressor_calibration import PROMPTS, token_ids
from tunesmith_plugins.quantizers.llm_compressor_environment import VARIABLE, clean

REAL = os.environ.get(VARIABLE, "")
needs_library = pytest.mark.skipif(
    not REAL, reason=f"{VARIABLE} names no environment with llm-compressor"
)
reads_here = importlib.util.find_spec("compressed_tensors") is not None


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with a model whose rows divide into groups of 128."""
    shape = SHAPE.model_copy(update={"hidden_size": 128, "intermediate_size": 256})
    tokenizer = load_tokenizer(tiny_model())
    folder = tmp_path_factory.mktemp("model")
    save_model(new_model(shape, tokenizer, 0), tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """The interpreter of a virtual environment that has nothing in it."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, symlinks=True)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """An interpreter that says it has llm-compressor; the scripts of these tests need no more."""
    return claiming(tmp_path_factory.mktemp("claims"), "0.14.0.1")


def claiming(folder, version):
    venv.create(folder, symlinks=True)
    at = next(folder.glob("lib/python*/site-packages")) / f"llmcompressor-{version}.dist-info"
    at.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: llmcompressor\nVersion: {version}\n"
    (at / "METADATA").write_text(metadata)
    return folder / "bin" / "python"


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Put another script in the place of ours; it gets the order as `order`."""

    def put(body):
        path = tmp_path / "script.py"
        path.write_text(
            "import json, os, pathlib, shutil, sys, time\n"
            "order = json.load(open(sys.argv[1]))\n"
            "model, out = pathlib.Path(order['model']), pathlib.Path(order['out'])\n" + body
        )
        monkeypatch.setattr(process, "SCRIPT", path)

    return put


COPY = "shutil.copytree(model, out)\n"
QUANTIZED = (
    "config = json.loads((out / 'config.json').read_text())\n"
    "config['quantization_config'] = {'quant_method': 'compressed-tensors'}\n"
    "(out / 'config.json').write_text(json.dumps(config))\n"
)


# Preflight


def test_without_an_interpreter_it_says_how_to_make_an_environment(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    (said,) = LlmCompressor().lacks()
    assert "python3 -m venv ~/llm-compressor" in said
    assert "pip install llmcompressor==" in said
    assert f"export {VARIABLE}=" in said


def test_an_interpreter_without_the_library_is_told_what_to_install(bare):
    (said,) = LlmCompressor(python=bare).lacks()
    assert f"{bare} has no llmcompressor" in said
    assert f"`{bare} -m pip install llmcompressor==" in said


def test_a_release_of_another_interface_is_refused(tmp_path):
    (said,) = LlmCompressor(python=claiming(tmp_path, "0.8.1")).lacks()
    assert "has llmcompressor 0.8.1, which is older than 0.14" in said


def test_a_path_that_is_no_program_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere"))
    (said,) = LlmCompressor().lacks()
    assert f"{tmp_path / 'nowhere'}, which {VARIABLE} names, is no program" in said
    assert "the option `python` names" in LlmCompressor(python=tmp_path).lacks()[0]


def test_a_program_that_is_no_python_is_named():
    (said,) = LlmCompressor(python=Path("/bin/false")).lacks()
    assert "/bin/false does not run as a Python interpreter" in said


def test_the_variable_is_used_and_the_option_goes_before_it(python, bare, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(python))
    assert LlmCompressor().lacks() == []
    assert LlmCompressor(python=bare).lacks() != []


def test_a_missing_calibration_file_is_a_problem(tmp_path):
    missing = tmp_path / "no.jsonl"
    assert LlmCompressor(calibration=missing).problems() == [
        f"There is no calibration file {missing}."
    ]


def test_texts_and_versions_decide_the_cache_key(python, tmp_path):
    other = claiming(tmp_path / "newer", "0.15.0")
    texts = tmp_path / "texts.txt"
    texts.write_text("one\n")
    plain = LlmCompressor(python=python).fingerprint()
    assert plain == LlmCompressor(python=python).fingerprint()
    assert plain != LlmCompressor(python=other).fingerprint()
    first = LlmCompressor(python=python, calibration=texts).fingerprint()
    texts.write_text("two\n")
    assert len({plain, first, LlmCompressor(python=python, calibration=texts).fingerprint()}) == 3


# The child process


def test_the_child_sees_no_path_of_ours_and_no_network(python, model, tmp_path, script, caplog):
    script("print('ENV', json.dumps([dict(os.environ), sys.path, sys.flags.isolated]))\n")
    with (
        caplog.at_level(logging.INFO, "tunesmith.quantizers"),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("PYTHONPATH", "/somewhere")
        patch.setenv("HF_TOKEN", "secret")
        with pytest.raises(ModelError, match="wrote no weights"):
            LlmCompressor(python=python, algorithm="rtn").quantize(model, tmp_path / "out")
    line = next(one for one in caplog.messages if "ENV" in one)
    seen, path, isolated = json.loads(line.partition("ENV ")[2])
    assert isolated
    assert not {"PYTHONPATH", "HF_TOKEN"} & set(seen)
    assert (seen["HF_HUB_OFFLINE"], seen["TRANSFORMERS_OFFLINE"]) == ("1", "1")
    assert not any("tunesmith" in one for one in path)


def test_its_cache_is_its_own(tmp_path):
    assert clean(tmp_path)["HF_HOME"] == str(tmp_path)


def test_a_failure_is_one_error_with_the_end_of_the_log(python, model, tmp_path, script):
    script("print('halfway')\nraise RuntimeError('the matrix is singular')\n")
    with pytest.raises(ModelError) as caught:
        LlmCompressor(python=python).quantize(model, tmp_path / "out")
    said = str(caught.value)
    assert said.startswith(f"llm-compressor 0.14.0.1 ({python}) ended with 1.")
    assert "halfway" in said
    assert "RuntimeError: the matrix is singular" in said
    assert list((tmp_path / "out").iterdir()) == []


def test_one_that_is_killed_hints_at_memory(python, model, tmp_path, script):
    script(f"os.kill(os.getpid(), {int(signal.SIGKILL)})\n")
    with pytest.raises(ModelError, match=r"killed by signal 9\. That is often too little memory"):
        LlmCompressor(python=python).quantize(model, tmp_path / "out")


HANGING = (
    "import subprocess\n"
    "other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "pathlib.Path({noted!r}).write_text(f'{{os.getpid()}} {{other.pid}}')\n"
    "print('waiting', flush=True)\n"
    "time.sleep(600)\n"
)


def ended(noted):
    """Say whether every process whose number was noted is gone, within a few seconds."""
    numbers = [int(one) for one in noted.read_text().split()]
    assert len(numbers) == 2
    for _ in range(100):
        if not any(alive(number) for number in numbers):
            return True
        time.sleep(0.05)
    return False


def alive(number):
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_one_that_hangs_is_stopped_with_all_it_started(python, model, tmp_path, script):
    noted = tmp_path / "noted"
    script(HANGING.format(noted=str(noted)))
    with pytest.raises(ModelError, match=r"not done after 3 s and was stopped(.|\n)*waiting"):
        LlmCompressor(python=python, timeout=3).quantize(model, tmp_path / "out")
    assert ended(noted)


def test_ctrl_c_leaves_no_process_and_no_file(python, model, tmp_path, script):
    noted, out = tmp_path / "noted", tmp_path / "out"
    script(HANGING.format(noted=str(noted)))
    program = (
        "from pathlib import Path\n"
        "from tunesmith_plugins.quantizers import llm_compressor_process as process\n"
        "from tunesmith_plugins.quantizers.llm_compressor import LlmCompressor\n"
        f"process.SCRIPT = Path({str(process.SCRIPT)!r})\n"
        f"made = LlmCompressor(python={str(python)!r}, algorithm='rtn')\n"
        f"made.quantize(Path({str(model)!r}), Path({str(out)!r}))\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    wait_for(noted, owner)
    owner.send_signal(signal.SIGINT)
    _, said = owner.communicate(timeout=60)
    assert said.strip().endswith("KeyboardInterrupt")
    assert ended(noted)
    assert list(out.iterdir()) == []


def wait_for(noted, owner):
    for _ in range(1200):
        if noted.is_file() and len(noted.read_text().split()) == 2:
            return
        assert owner.poll() is None, owner.stderr.read()
        time.sleep(0.05)
    raise AssertionError("the script did not begin")


def test_our_script_ends_when_its_owner_dies(python, tmp_path):
    """Its first import fails in an empty environment, so only the watching thread is tried."""
    from tunesmith_plugins.quantizers import llm_compressor_child as child

    noted = tmp_path / "noted"
    program = (
        "import importlib.util, threading\n"
        f"spec = importlib.util.spec_from_file_location('child', {child.__file__!r})\n"
        "child = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(child)\n"
        "threading.Thread(target=child._end_with_owner, daemon=True).start()\n"
        "import os, pathlib, sys, time\n" + HANGING.format(noted=str(noted))
    )
    started = subprocess.Popen(
        [str(python), "-I", "-c", program], stdin=subprocess.PIPE, start_new_session=True
    )
    wait_for(noted, started)
    started.stdin.close()  # what the kernel does when the owner is killed
    assert started.wait(timeout=30) == -signal.SIGKILL
    assert ended(noted)


# What it leaves


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("", "wrote no weights .* only nothing"),
        (COPY + "(out / 'pytorch_model.bin').write_bytes(b'x')\n", "wrote pytorch_model.bin: a p"),
        (COPY + "(out / 'config.json').unlink()\n", "wrote no config.json"),
        (COPY, "no quantization_config of compressed-tensors"),
        (COPY + QUANTIZED, "rounded no matrix"),
        (
            COPY + QUANTIZED + "os.truncate(out / 'model.safetensors', 5000)\n",
            "not whole(.|\n)*not a whole safetensors file",
        ),
        (
            COPY + QUANTIZED.replace("config['q", "config['auto_map'] = {}\nconfig['q"),
            "auto_map",
        ),
    ],
)
def test_a_bad_result_is_refused_and_nothing_of_it_is_kept(
    python, model, tmp_path, script, body, says
):
    script(body)
    with pytest.raises(ModelError, match=says):
        LlmCompressor(python=python).quantize(model, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


# The texts


def test_without_a_file_the_built_in_prompts_are_used_and_that_is_said(
    python, model, tmp_path, script, caplog
):
    script("print(len(order['texts']))\nsys.exit(3)\n")
    with pytest.raises(ModelError, match=f"cannot do this: {len(PROMPTS)}"):
        LlmCompressor(python=python).quantize(model, tmp_path / "out")
    assert f"calibrated on {len(PROMPTS)} built-in prompts" in caplog.text


def test_rows_become_what_the_model_will_see(tmp_path):
    from tunesmith.chat import encode_prompt, render_rows

    tokenizer = load_tokenizer(tiny_model())
    asked = [{"role": "user", "content": "Mia found 3 kites?"}]
    said = [{"role": "assistant", "content": "Mia lost 2 kites."}]
    rows = [
        {"prompt": asked, "completion": said},
        {"prompt": "Mia found 3 kites?", "chosen": said, "rejected": asked},
        {"messages": [*asked, *said]},
        {"prompt": "Mia found 3 kites?"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    pair, chosen, turns, prompt = token_ids(tokenizer, path, 9, 99)
    assert pair == chosen == render_rows(tokenizer, [rows[0]])[0].ids
    assert tokenizer.decode(turns) == tokenizer.decode(pair)
    assert prompt == encode_prompt(tokenizer, asked) == pair[: len(prompt)]


def test_a_text_file_has_one_text_a_line_and_limits_hold(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("Mia found 3 kites.\n\nTom lost 2 kites.\nTom saw 9 kites.\n")
    tokenizer = load_tokenizer(tiny_model())
    texts = token_ids(tokenizer, path, 2, 5)
    assert [len(one) for one in texts] == [5, 5]
    assert tokenizer.decode(token_ids(tokenizer, path, 2, 99)[1]).startswith("Tom lost 2 kites.")


@pytest.mark.parametrize(
    ("content", "says"),
    [("{]\n", "line 1: no JSON object"), ('{"a": 1}\n', "line 1: a row needs"), ("", "no text")],
)
def test_a_line_that_is_no_text_is_named(tmp_path, content, says):
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=says):
        token_ids(load_tokenizer(tiny_model()), path, 9, 99)


# The library itself


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """The nano's own training rows as a calibration file, and others that were not in it."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    given, held_out = nano_rows(64, 40)
    path.write_text("".join(json.dumps(row) + "\n" for row in given))
    return path, held_out


@pytest.fixture(scope="module")
def written(rows, tmp_path_factory):
    """The nano, rounded to 4 bits in three ways."""
    made = {}
    for algorithm in ("rtn", "gptq", "awq"):
        out = tmp_path_factory.mktemp(algorithm)
        technique = LlmCompressor(algorithm=algorithm, calibration=rows[0], samples=64)
        made[algorithm] = (out, technique.quantize(resolve_model("builtin:nano"), out).metrics)
    return made


@needs_library
def test_gptq_and_awq_stay_nearer_to_the_model_than_rounding(rows, written):
    nano = resolve_model("builtin:nano")
    parent = load_model(nano)
    lost = {
        name: divergence(parent, unpacked(out, nano), rows[1]) for name, (out, _) in written.items()
    }
    assert 0 < lost["gptq"] < 0.5 * lost["rtn"]
    assert 0 < lost["awq"] < lost["rtn"]


@needs_library
def test_weights_are_four_bits_with_a_scale_for_each_128(written):
    nano = resolve_model("builtin:nano")
    before = load_file(nano / "model.safetensors")
    for out, metrics in written.values():
        held = load_file(out / "model.safetensors")
        packed = {name.removesuffix("_packed") for name in held if name.endswith("_packed")}
        assert packed == {name for name, one in before.items() if "proj.weight" in name}
        for name in packed:
            rows, columns = before[name].shape
            assert held[f"{name}_packed"].shape == (rows, columns // 8)
            assert held[f"{name}_scale"].shape == (rows, columns // 128)
        assert metrics["bytes"] == (out / "model.safetensors").stat().st_size
        assert metrics["bits_per_weight"] < 6
        assert metrics["quantized"] == len(packed)


@needs_library
def test_the_report_says_which_versions_made_it_and_the_tokenizer_is_the_parents(written):
    nano = resolve_model("builtin:nano")
    out, metrics = written["gptq"]
    assert json.loads((out / "report.json").read_text()) == metrics
    assert set(metrics["versions"]) >= {"llmcompressor", "compressed-tensors", "transformers"}
    assert (metrics["samples"], written["rtn"][1]["samples"]) == (64, 0)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (nano / name).is_file():
            assert (out / name).read_bytes() == (nano / name).read_bytes()
    assert not any(path.is_dir() for path in out.iterdir())


@needs_library
def test_the_same_model_and_texts_give_the_same_bytes(rows, written, tmp_path):
    nano = resolve_model("builtin:nano")
    LlmCompressor(calibration=rows[0], samples=64).quantize(nano, tmp_path)
    for name in ("model.safetensors", "config.json", "recipe.yaml", "report.json"):
        assert (tmp_path / name).read_bytes() == (written["gptq"][0] / name).read_bytes()


@needs_library
@pytest.mark.skipif(not reads_here, reason="compressed-tensors is not installed here")
def test_transformers_computes_with_it_what_the_stored_numbers_say(written):
    ids = torch.arange(3, 63).reshape(2, 30)
    out = written["gptq"][0]
    with torch.no_grad():
        theirs = load_model(out)(ids).logits
        ours = unpacked(out, resolve_model("builtin:nano"))(ids).logits
    assert torch.allclose(theirs, ours, atol=1e-3)


@needs_library
def test_w8a8_stores_bytes(model, tmp_path):
    build(Quantizer, {"name": "llm_compressor", "scheme": "w8a8"}).quantize(model, tmp_path)
    held = load_file(tmp_path / "model.safetensors")
    assert held["model.layers.0.mlp.up_proj.weight"].dtype == torch.int8


@needs_library
def test_ignored_layers_stay_as_they_are(model, tmp_path):
    technique = LlmCompressor(algorithm="rtn", ignore=("re:.*down_proj", "lm_head"))
    metrics = technique.quantize(model, tmp_path).metrics
    assert "model.layers.0.mlp.down_proj.weight" in metrics["kept"]
    held, before = (load_file(one / "model.safetensors") for one in (tmp_path, model))
    name = "model.layers.0.mlp.down_proj.weight"
    assert torch.equal(held[name], before[name])


@needs_library
def test_a_scheme_that_does_not_exist_is_refused_with_those_that_do(model, tmp_path):
    with pytest.raises(ModelError, match=r"there is no scheme 'W4A17'\. Schemes: .*W4A16"):
        LlmCompressor(scheme="W4A17").quantize(model, tmp_path)


@needs_library
def test_rows_that_groups_do_not_fill_are_named(tmp_path):
    with pytest.raises(ModelError, match=r"groups of 128: .*q_proj \(32\), .* and \d+ more"):
        LlmCompressor(algorithm="rtn").quantize(tiny_model(), tmp_path)


@needs_library
def test_what_is_quantized_is_not_quantized_again(written, tmp_path):
    with pytest.raises(ModelError, match="is quantized already"):
        LlmCompressor().quantize(written["rtn"][0], tmp_path)
