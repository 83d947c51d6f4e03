"""Cores and memory are the lowest limits of the machine, the container and the job."""

import os

import pytest

from pipeline.workers import machine
from pipeline.workers.machine import MIB

MANY = 10_000  # more cores than this machine has


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder with the proc and sys files of a machine with many cores and 64 GiB."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(MANY)), raising=False)
    write(tmp_path, {"proc/meminfo": f"MemTotal: {64 << 20} kB\nMemFree: 1 kB\n"})
    return tmp_path


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


HIDDEN = {"proc/self/cgroup": "0::/\n"}
VERSION_2 = {"proc/self/cgroup": "0::/kubepods/pod1/box\n"}
VERSION_1 = {"proc/self/cgroup": "9:cpu,cpuacct:/docker/box\n4:memory:/docker/box\n1:name=systemd:/docker/box\n0::/\n"}
TOP = "sys/fs/cgroup/"
UNLIMITED = "9223372036854771712\n"


@pytest.mark.parametrize(
    ("files", "mebibytes"),
    [
        ({}, 64 << 10),
        (HIDDEN | {TOP + "memory.max": f"{256 * MIB}\n"}, 256),
        (HIDDEN | {TOP + "memory.max": "max\n"}, 64 << 10),
        (HIDDEN | {TOP + "memory.max": "max\n", TOP + "memory.high": f"{300 * MIB}\n"}, 300),
        (VERSION_2 | {TOP + "kubepods/pod1/box/memory.max": f"{256 * MIB}"}, 256),
        (VERSION_2 | {TOP + "kubepods/memory.max": f"{512 * MIB}", TOP + "kubepods/pod1/box/memory.max": "max"}, 512),
        (VERSION_2 | {TOP + "kubepods/other/memory.max": f"{1 * MIB}"}, 64 << 10),
        (VERSION_2 | {TOP + "unified/kubepods/pod1/memory.max": f"{200 * MIB}"}, 200),
        (VERSION_1 | {TOP + "memory/docker/box/memory.limit_in_bytes": f"{256 * MIB}\n"}, 256),
        (VERSION_1 | {TOP + "memory/docker/memory.limit_in_bytes": f"{256 * MIB}\n"}, 256),
        (VERSION_1 | {TOP + "memory/memory.limit_in_bytes": f"{256 * MIB}\n"}, 256),
        (VERSION_1 | {TOP + "memory/docker/box/memory.limit_in_bytes": UNLIMITED}, 64 << 10),
        (VERSION_1 | {TOP + "memory/memory.stat": f"rss 5\nhierarchical_memory_limit {128 * MIB}\nx 1\n"}, 128),
        ({"proc/self/cgroup": "0::/../../outside\n", TOP + "memory.max": f"{256 * MIB}"}, 256),
        ({TOP + "memory.max": f"{256 * MIB}"}, 256),
        (HIDDEN | {TOP + "memory.max": "nonsense\n"}, 64 << 10),
    ],
)
def test_memory_is_the_lowest_limit_of_the_machine_and_its_control_groups(files, mebibytes, root):
    write(root, files)
    assert machine.memory(root, {}) == mebibytes * MIB


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, MANY),
        (HIDDEN | {TOP + "cpu.max": "200000 100000\n"}, 2),
        (HIDDEN | {TOP + "cpu.max": "150000 100000\n"}, 2),
        (HIDDEN | {TOP + "cpu.max": "10000 100000\n"}, 1),
        (HIDDEN | {TOP + "cpu.max": "max 100000\n"}, MANY),
        (VERSION_2 | {TOP + "kubepods/cpu.max": "300000 100000", TOP + "kubepods/pod1/box/cpu.max": "max 100000"}, 3),
        (
            VERSION_1
            | {
                TOP + "cpu,cpuacct/docker/box/cpu.cfs_quota_us": "400000\n",
                TOP + "cpu,cpuacct/docker/box/cpu.cfs_period_us": "100000\n",
            },
            4,
        ),
        (VERSION_1 | {TOP + "cpu/cpu.cfs_quota_us": "50000\n", TOP + "cpu/cpu.cfs_period_us": "25000\n"}, 2),
        (VERSION_1 | {TOP + "cpu/cpu.cfs_quota_us": "-1\n", TOP + "cpu/cpu.cfs_period_us": "100000\n"}, MANY),
    ],
)
def test_cores_are_the_lowest_limit_of_affinity_and_control_groups(files, cores, root):
    write(root, files)
    assert machine.cores(root, {}) == cores


def test_cores_follow_affinity_and_are_at_least_one(root, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5}, raising=False)
    assert machine.cores(root, {}) == 2
    assert machine.cores(root, {"SLURM_CPUS_PER_TASK": "8"}) == 2


@pytest.mark.parametrize(
    ("job", "cores", "mebibytes"),
    [
        ({"SLURM_CPUS_PER_TASK": "4", "SLURM_MEM_PER_CPU": "1000"}, 4, 4000),
        ({"SLURM_CPUS_ON_NODE": "8", "SLURM_MEM_PER_NODE": "2048"}, 8, 2048),
        ({"SLURM_CPUS_ON_NODE": "8", "SLURM_CPUS_PER_TASK": "2", "SLURM_MEM_PER_CPU": "500"}, 2, 4000),
        ({"SLURM_MEM_PER_NODE": "0"}, MANY, 64 << 10),
        ({"SLURM_CPUS_PER_TASK": "many", "SLURM_MEM_PER_NODE": "1G"}, MANY, 64 << 10),
    ],
)
def test_cores_and_memory_follow_the_limits_of_a_slurm_job(job, cores, mebibytes, root):
    assert machine.cores(root, job) == cores
    assert machine.memory(root, job) == mebibytes * MIB


def test_this_machine_has_cores_and_memory():
    assert 1 <= machine.cores() <= (os.cpu_count() or 1)
    assert machine.memory() > 50 * MIB


def test_without_proc_memory_is_the_total_that_psutil_reports(tmp_path):
    import psutil

    assert machine.memory(tmp_path, {}) == psutil.virtual_memory().total
