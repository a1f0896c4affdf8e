"""Memory of a process tree: each page divided by the number of processes that share it (PSS).

Summed over a service that is all of its memory in use but the kernel's own: page tables, which are
shown beside it, sockets and the like; and but what of the templates' images nobody maps at the
moment, which is added to the sum.
"""

import os

import proctree

KIB_PER_MB = 1e6 / 1024


def read_fields(path, wanted):
    """{field: KiB} of one file in /proc whose lines are "Field:   123 kB"."""
    found = dict.fromkeys(wanted, 0)
    with open(path, encoding="utf-8") as file:
        for line in file:
            name, _, rest = line.partition(":")
            if name in found:
                found[name] = int(rest.split()[0])
    return found


def of_process(pid):
    """(PSS, private, page tables) in KiB; zeros for one that has just ended."""
    try:
        rollup = read_fields(f"/proc/{pid}/smaps_rollup",
                             ("Pss", "Private_Clean", "Private_Dirty"))
        tables = read_fields(f"/proc/{pid}/status", ("VmPTE",))["VmPTE"]
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0, 0
    return rollup["Pss"], rollup["Private_Clean"] + rollup["Private_Dirty"], tables


def unmapped_images(members):
    """KiB of the memory files that templates keep their memory in, less what is in the PSS."""
    sizes, mapped = {}, 0
    for process in members:
        try:
            mapped += read_fields(f"/proc/{process.pid}/smaps_rollup", ("Pss_Shmem",))["Pss_Shmem"]
            with open(f"/proc/{process.pid}/maps", encoding="utf-8") as maps:
                lines = [line for line in maps if "/memfd:image" in line]
            inodes = {line.split()[4]: line.split()[0] for line in lines}
            for place in inodes.values():
                status = os.stat(f"/proc/{process.pid}/map_files/{place}")
                sizes[status.st_ino] = status.st_blocks // 2
        except (FileNotFoundError, ProcessLookupError):
            continue
    return max(sum(sizes.values()) - mapped, 0)


def measure(root):
    """Megabytes (millions of bytes) of the tree below `root`, which itself does not count.

    PermissionError where the processes belong to others, as Vivarium's do when root started it.
    """
    members = proctree.below(root)
    of = proctree.roles(members)
    by_role, total, tables = {}, 0, 0
    for process in members:
        pss, private, table = of_process(process.pid)
        total, tables = total + pss, tables + table
        one = by_role.setdefault(of[process.pid], {"processes": 0, "pss_mb": 0, "private_mb": 0})
        one["processes"] += 1
        one["pss_mb"] += pss / KIB_PER_MB
        one["private_mb"] += private / KIB_PER_MB
    total += unmapped_images(members)
    return {"pss_mb": total / KIB_PER_MB, "tables_mb": tables / KIB_PER_MB, "by_role": by_role}


def slopes(base, more_cells, more_workers):
    """(MB of one parked execution, MB of one worker without any) out of three memory records:
    one, one with more cells per worker, and one with more workers."""
    cells = more_cells["workers"] * more_cells["cells"] - base["workers"] * base["cells"]
    per_cell = (more_cells["pss_mb"] - base["pss_mb"]) / cells
    workers = more_workers["workers"] - base["workers"]
    grown = more_workers["pss_mb"] - base["pss_mb"]
    return per_cell, grown / workers - base["cells"] * per_cell
