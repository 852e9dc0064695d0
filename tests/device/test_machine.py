from __future__ import annotations

from pathlib import Path

import numpy
import pytest
import torch

import greenedge
from greenedge.device.machine import describe_machine
from greenedge.device.processor import processor_name

CPUINFO = """\
processor\t: 0
model name\t: Maker's CPU @ 2.00GHz
cpu MHz\t\t: 1800.000

processor\t: 1
model name\t: Maker's CPU @ 2.00GHz
cpu MHz\t\t: 2400.000
"""


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_describe_machine_reads_name_and_clocks(tmp_path: Path) -> None:
    cpu = "sys/devices/system/cpu"
    write(tmp_path, {"proc/cpuinfo": CPUINFO})
    machine = describe_machine(tmp_path)
    assert (machine.processor, machine.clock_mhz, machine.max_clock_mhz) == ("Maker's CPU @ 2.00GHz", 2100.0, None)

    write(
        tmp_path,
        {
            f"{cpu}/cpu0/cpufreq/scaling_cur_freq": "1000000\n",
            f"{cpu}/cpu1/cpufreq/scaling_cur_freq": "3000000\n",
            f"{cpu}/cpu2/cpufreq/scaling_cur_freq": "<unknown>\n",
            f"{cpu}/cpu0/cpufreq/cpuinfo_max_freq": "3500000\n",
            f"{cpu}/cpu1/cpufreq/cpuinfo_max_freq": "4200000\n",
            f"{cpu}/cpufreq/cpuinfo_max_freq": "9900000\n",  # of no core
        },
    )
    machine = describe_machine(tmp_path)
    assert (machine.clock_mhz, machine.max_clock_mhz) == (2000.0, 4200.0)


@pytest.mark.parametrize("text", ["", "processor: 0\nBogoMIPS: 50\n", "cpu MHz : unknown\n"])
def test_describe_machine_leaves_out_what_the_system_does_not_say(tmp_path: Path, text: str) -> None:
    write(tmp_path, {"proc/cpuinfo": text})
    machine = describe_machine(tmp_path)
    assert (machine.processor, machine.clock_mhz, machine.max_clock_mhz) == (None, None, None)


def test_describe_machine_has_versions_and_threads() -> None:
    machine = describe_machine()
    assert list(machine.versions) == ["greenedge", "torch", "numpy", "onnxruntime", "openvino"]
    assert machine.versions["greenedge"] == greenedge.__version__
    assert machine.versions["numpy"] == numpy.__version__
    assert machine.threads == torch.get_num_threads()


def test_describe_machine_has_null_for_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenedge.device.machine._PACKAGES", ("torch", "no-such-package"))
    versions = describe_machine().versions
    assert versions["no-such-package"] is None
    assert versions["torch"]


def test_processor_name_asks_the_platform_where_there_is_no_proc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.processor", lambda: "")
    assert processor_name(tmp_path) is None
    monkeypatch.setattr("platform.processor", lambda: "arm")
    assert processor_name(tmp_path) == "arm"
