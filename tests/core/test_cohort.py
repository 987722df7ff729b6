"""Cohorts: nothing computed twice, nothing finished lost, whatever is killed."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from tqdm import tqdm

from neuromod import _xla
from neuromod.core import cohort, progress
from neuromod.core.errors import DataFormatError, InvalidInputError, NeuromodError
from neuromod.core.result import Result
from tests.core import cohort_items as items
from tests.core.cohort_items import jobs, runs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """Let workers import this folder, however pytest was started."""
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture
def threads():
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture
def traces(tmp_path) -> Path:
    (tmp_path / "traces").mkdir()
    return tmp_path / "traces"


def start_client(code: str, *arguments: object) -> subprocess.Popen:
    """Start a Python process that runs a cohort."""
    imports = (
        "import sys\n"
        "from pathlib import Path\n"
        "from neuromod.core import cohort\n"
        "from tests.core import cohort_items as items\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", imports + code, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_until(condition, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]
    except OSError:
        return False


def workers_of(traces: Path) -> set[int]:
    return {int(path.name.rsplit("-", 1)[1]) for path in traces.glob("*-*")}


# Spawned processes.


def test_results_come_in_the_order_of_the_items_from_other_processes(traces):
    work = jobs(traces, 5)
    found = cohort.map(
        items.square,
        dict(reversed(work.items())),
        config={"offset": 0.5, "seconds": 0.2},
        n_workers=2,
        progress=False,
    )
    assert list(found.items()) == [(f"item{n}", n * n + 0.5) for n in (4, 3, 2, 1, 0)]
    assert found.failed == {}
    assert found.paths == {}
    workers = workers_of(traces)
    assert len(workers) == 2
    assert os.getpid() not in workers


def test_workers_inherit_the_xla_option():
    (found,) = cohort.map(items.option, [0], progress=False).values()
    assert found == [_xla.state(), _xla.value()]


def test_a_failure_stops_nothing_and_is_told(traces, caplog):
    found = cohort.map(items.fail_on_odd, jobs(traces, 4), n_workers=2, progress=False)
    assert dict(found) == {"item0": 0.0, "item2": 2.0}
    assert list(found.failed) == ["item1", "item3"]
    failure = found.failed["item3"]
    assert (failure.kind, failure.message) == ("ValueError", "3 is odd")
    assert "in fail_on_odd" in failure.traceback
    assert str(failure) == "ValueError: 3 is odd"
    assert "2 of 4 items failed: item1: ValueError: 1 is odd; item3" in caplog.text
    with pytest.raises(KeyError, match=r"item1.*ValueError: 1 is odd"):
        found["item1"]
    assert "item1" not in found
    with pytest.raises(
        NeuromodError, match=r"(?s)2 item\(s\) failed: item1, item3.*again"
    ):
        found.require_all()
    assert repr(found).splitlines() == [
        "cohort: 2 finished (0 of them found in the store), 2 failed",
        "  item1: ValueError: 1 is odd",
        "  item3: ValueError: 3 is odd",
    ]


def test_a_worker_that_is_killed_once_costs_nothing(traces):
    work = jobs(traces, 5)
    found = cohort.map(items.kill_worker_once, work, n_workers=2, progress=False)
    assert found.failed == {}
    assert list(found.values()) == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert runs(traces).count(2) == 2


def test_an_item_that_kills_its_worker_twice_has_failed(traces, caplog):
    work = jobs(traces, 6)
    found = cohort.map(items.kill_worker_on_two, work, n_workers=2, progress=False)
    assert list(found) == ["item0", "item1", "item3", "item4", "item5"]
    assert list(found.failed) == ["item2"]
    assert found.failed["item2"].kind == "BrokenProcessPool"
    assert "once more alone" in found.failed["item2"].message
    # The culprit twice; one innocent may have been under way beside it.
    assert runs(traces).count(2) == 2
    assert all(runs(traces).count(n) <= 2 for n in range(6))
    assert len(runs(traces)) <= 8


def test_an_item_that_leaves_python_has_failed(traces, caplog):
    found = cohort.map(items.leave_python, jobs(traces, 1), progress=False)
    assert str(found.failed["item0"]) == "SystemExit: 0 says goodbye"


def test_an_item_that_cannot_be_sent_has_failed(caplog):
    work = {"lock": threading.Lock(), "good": 1}
    found = cohort.map(items.process_id, work, progress=False)
    assert list(found) == ["good"]
    assert found.failed["lock"].kind == "TypeError"


def test_a_result_that_cannot_be_sent_has_failed(monkeypatch, caplog):
    found = cohort.map(items.a_lambda, [1], progress=False)
    assert "a_lambda.<locals>.<lambda>" in found.failed["0"].message


# The death of the whole program.


CLIENT = """
traces, store = map(Path, sys.argv[1:])
config = {"seconds": 0.3}
cohort.map(items.square, items.jobs(traces, 8), config=config, store=store, n_workers=2)
"""


@pytest.mark.parametrize("deadly", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_or_interrupted_client_loses_nothing_finished(
    deadly, tmp_path, traces, threads
):
    store = tmp_path / "store"
    client = start_client(CLIENT, traces, store)
    wait_until(lambda: store.exists() and len(list(store.glob("*.value.nc"))) >= 3)
    if deadly == signal.SIGINT:  # as a terminal sends it: to the whole group
        os.killpg(client.pid, deadly)
    else:
        client.kill()
    _, errors = client.communicate(timeout=30)
    assert client.returncode != 0
    assert ("KeyboardInterrupt" in errors) == (deadly == signal.SIGINT)
    assert "SpawnProcess" not in errors
    wait_until(lambda: not any(map(alive, workers_of(traces))), seconds=10)

    finished = len(list(store.glob("*.value.nc")))
    assert 3 <= finished < 8
    started = len(runs(traces))
    found = cohort.map(
        items.square,
        jobs(traces, 8),
        config={"seconds": 0.3},
        store=store,
        executor=threads,
        progress=False,
    )
    assert found.n_reused == finished
    assert list(found.values()) == [float(n * n) for n in range(8)]
    assert len(runs(traces)) - started == 8 - finished


def test_a_script_without_a_guard_is_told_how_to_mend_it(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from neuromod.core import cohort\n"
        "def double(x):\n"
        "    return 2 * x\n"
        "cohort.map(double, [1, 2], n_workers=1, progress=False)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    finished = subprocess.run(
        [sys.executable, script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert finished.returncode == 1
    assert "put what it does under `if __name__ == '__main__':`" in finished.stderr


def test_a_script_with_a_guard_runs(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from neuromod.core import cohort\n"
        "def double(x):\n"
        "    return 2 * x\n"
        "if __name__ == '__main__':\n"
        "    found = cohort.map(double, [1, 2], n_workers=1, progress=False)\n"
        "    print(dict(found))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    finished = subprocess.run(
        [sys.executable, script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert finished.stdout == "{'0': 2, '1': 4}\n", finished.stderr


# The store.


def test_what_is_finished_is_not_computed_again(tmp_path, traces, threads):
    def run(count: int, **config) -> cohort.CohortResult:
        return cohort.map(
            items.square,
            jobs(traces, count),
            store=tmp_path / "store",
            config=config,
            executor=threads,
            progress=False,
        )

    assert run(2).n_reused == 0
    more = run(4)
    assert more.n_reused == 2
    assert runs(traces) == [0, 1, 2, 3]
    assert list(more.values()) == [0.0, 1.0, 4.0, 9.0]
    assert run(4, offset=1.0).n_reused == 0
    assert runs(traces) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert set(more.paths) == set(more)
    assert all(path.is_file() for path in more.paths.values())


def test_failed_items_are_run_again_alone(tmp_path, traces, threads, caplog):
    def run() -> cohort.CohortResult:
        return cohort.map(
            items.fail_unless_mended,
            jobs(traces, 4),
            store=tmp_path / "store",
            executor=threads,
            progress=False,
        )

    assert list(run().failed) == ["item1"]
    (traces / "mended").touch()
    found = run()
    assert found.failed == {}
    assert found.n_reused == 3
    assert list(found) == ["item0", "item1", "item2", "item3"]
    assert runs(traces) == [0, 1, 1, 2, 3]


def test_a_damaged_file_is_computed_again(tmp_path, traces, threads):
    def run() -> cohort.CohortResult:
        return cohort.map(
            items.square,
            jobs(traces, 3),
            store=tmp_path / "store",
            executor=threads,
            progress=False,
        )

    path = run().paths["item1"]
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    found = run()
    assert found.n_reused == 2
    assert found["item1"] == 1.0
    assert runs(traces) == [0, 1, 1, 2]


def test_results_are_stored_as_results(tmp_path, traces, threads):
    found = cohort.map(
        items.fit, jobs(traces, 2), store=tmp_path, executor=threads, progress=False
    )
    assert isinstance(found["item1"], Result)
    assert found["item1"].config == {"number": 1}
    assert found.paths["item1"].name.endswith(".result.nc")


def test_every_kind_of_value_comes_back_as_it_was(tmp_path, threads):
    (found,) = cohort.map(
        items.many_kinds, [7], store=tmp_path, executor=threads, progress=False
    ).values()
    expected = items.many_kinds(7)
    assert list(found) == list(expected)
    for name in ("number", "text", "nothing", "pair"):
        assert found[name] == expected[name]
    assert type(found["pair"][0]) is np.float32
    for name in ("array", "scalar array", "labels"):
        np.testing.assert_array_equal(found[name], expected[name], strict=True)
    for name in ("labelled", "unnamed", "dataset", "tree"):
        assert found[name].identical(expected[name]), name
    assert found["unnamed"].name is None


def test_models_of_the_user_need_their_class(tmp_path, threads):
    def run(**classes) -> cohort.CohortResult:
        return cohort.map(
            items.fit_own_model,
            [2.0],
            store=tmp_path,
            executor=threads,
            classes=classes,
            progress=False,
        )

    with pytest.raises(DataFormatError, match="OwnModel"):
        run()["0"]
    found = run(OwnModel=items.own_model_class())
    assert found.n_reused == 1
    assert float(found["0"].model.rate) == 2.0


@pytest.mark.parametrize("function", [items.an_object, items.a_lambda])
def test_what_cannot_be_stored_is_told_with_the_remedy(
    function, tmp_path, threads, caplog
):
    found = cohort.map(function, [1], store=tmp_path, executor=threads, progress=False)
    failure = found.failed["0"]
    assert failure.kind == "InvalidInputError"
    assert "the returned value: got" in failure.message
    assert "returns a Result, xarray objects, arrays, plain values" in failure.message


def test_nothing_in_a_store_is_a_pickle(tmp_path, threads):
    found = cohort.map(
        items.many_kinds, [7], store=tmp_path, executor=threads, progress=False
    )
    (path,) = found.paths.values()
    with pytest.raises(pickle.UnpicklingError):
        pickle.loads(path.read_bytes())


def test_the_store_is_a_folder(tmp_path, threads):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InvalidInputError, match="store: got the file"):
        cohort.map(items.process_id, [1], store=file, executor=threads)


# Executors.


class OnlyMap:
    """An executor that has nothing but `map`."""

    def map(self, function, work):
        return [function(one) for one in work]


class Future:
    """A future in the manner of a dask client: no state that others could wait for."""

    def __init__(self, function, call):
        self.call = function, call

    def result(self):
        function, call = self.call
        return function(call)

    def cancel(self):
        raise AssertionError("nothing was interrupted")


class OnlySubmit:
    """An executor that has nothing but `submit`."""

    def submit(self, function, call):
        return Future(function, call)


@pytest.mark.parametrize("executor", [OnlyMap(), OnlySubmit()])
def test_any_executor_will_do(executor, tmp_path, traces, caplog):
    found = cohort.map(
        items.fail_on_odd,
        jobs(traces, 3),
        executor=executor,
        store=tmp_path / "s",
        progress=False,
    )
    assert dict(found) == {"item0": 0.0, "item2": 2.0}
    assert list(found.failed) == ["item1"]


def test_a_process_pool_of_the_user(traces):
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        found = cohort.map(
            items.square, jobs(traces, 2), executor=executor, progress=False
        )
    assert list(found.values()) == [0.0, 1.0]


def test_an_executor_that_loses_an_item_has_failed_it(caplog):
    class Lossy(OnlySubmit):
        def submit(self, function, call):
            future = Future(function, call)
            if call.item == 1:
                future.call = (lambda call: 1 / 0), call
            return future

    found = cohort.map(items.process_id, [0, 1, 2], executor=Lossy(), progress=False)
    assert list(found) == ["0", "2"]
    assert found.failed["1"].kind == "ZeroDivisionError"


def test_a_dask_client(tmp_path, traces, caplog):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None) as c,
        distributed.Client(c) as client,
    ):
        found = cohort.map(
            items.fail_on_odd,
            jobs(traces, 3),
            executor=client,
            store=tmp_path / "s",
            progress=False,
        )
    assert dict(found) == {"item0": 0.0, "item2": 2.0}
    assert str(found.failed["item1"]) == "ValueError: 1 is odd"


def test_functions_in_functions_run_in_threads(threads):
    found = cohort.map(lambda x: 2 * x, [1, 2], executor=threads, progress=False)
    assert dict(found) == {"0": 2, "1": 4}


def test_an_interrupt_cancels_what_was_submitted():
    cancelled = []

    class Interrupted(OnlySubmit):
        def submit(self, function, call):
            future = Future(function, call)
            future.cancel = lambda: cancelled.append(call.item)
            if call.item == 1:
                future.result = lambda: signal.raise_signal(signal.SIGINT)
            return future

    with pytest.raises(KeyboardInterrupt):
        cohort.map(items.process_id, [0, 1, 2], executor=Interrupted(), progress=False)
    assert cancelled == [0, 1, 2]


# Bad input.


def test_labels_of_a_tree_are_its_children(threads):
    tree = xr.DataTree.from_dict(
        {name: xr.Dataset({"x": ("time", [n])}) for n, name in enumerate("ab")}
    )
    found = cohort.map(
        lambda node: int(node["x"].sum()), tree, executor=threads, progress=False
    )
    assert dict(found) == {"a": 0, "b": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"items": []}, "items: got none, expected at least one item"),
        ({"items": {1: 0, "1": 0}}, "items: got the label.* '1' twice"),
        ({"items": "spikes.nwb"}, r"items: got a str, .* Use list\(...\)"),
        ({"items": (i for i in [1])}, r"items: got a generator.* Use list\(...\)"),
        ({"executor": object()}, "executor: got a object, .*ThreadPoolExecutor"),
        ({"n_workers": 0}, "n_workers: got 0"),
        ({"executor": OnlyMap(), "n_workers": 2}, "leave n_workers out"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        cohort.map(items.process_id, **{"items": [1], **arguments})


def test_without_cloudpickle_a_local_function_is_refused(monkeypatch):
    monkeypatch.setattr(cohort, "find_spec", lambda name: None)
    with pytest.raises(InvalidInputError, match="top level of a module, install cloud"):
        cohort.map(lambda x: x, [1])


def test_without_cloudpickle_a_function_typed_in_is_refused():
    code = """
cohort.find_spec = lambda name: None
def double(x):
    return 2 * x
cohort.map(double, [1])
"""
    _, errors = start_client(code).communicate(timeout=60)
    assert "function: got double, expected a function that a new process" in errors


def test_without_cloudpickle_importable_functions_run(monkeypatch):
    monkeypatch.setattr(cohort, "find_spec", lambda name: None)
    (pid,) = cohort.map(items.process_id, [1], progress=False).values()
    assert pid != os.getpid()


def test_with_cloudpickle_any_function_runs():
    pytest.importorskip("cloudpickle")
    factor = 3
    found = cohort.map(lambda x: factor * x, [1, 2], n_workers=1, progress=False)
    assert dict(found) == {"0": 3, "1": 6}


def test_progress_is_shown(capsys, threads, monkeypatch):
    # tqdm reads TQDM_DISABLE, which the suite sets, when it is imported.
    monkeypatch.setattr(
        progress, "tqdm", lambda **options: tqdm(**{"disable": False} | options)
    )
    cohort.map(items.process_id, [1, 2], executor=threads, progress=False)
    assert capsys.readouterr().err == ""
    cohort.map(items.process_id, [1, 2], executor=threads, progress=True)
    assert "cohort.map: 100%" in capsys.readouterr().err
