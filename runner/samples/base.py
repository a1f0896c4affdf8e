# Touches what nearly every script touches, so that it is warm before the first request.
import collections
import datetime
import fnmatch
import functools
import grp
import itertools
import json
import math
import pwd
import random
import re
import string


def main():
    print("hi", {"a": [1, 2.5, None, True]})
    words = re.findall(r"\w+", "the quick brown fox " * 3)
    counts = collections.Counter(words)
    total = functools.reduce(lambda a, b: a + b, itertools.accumulate(range(10)))
    text = json.dumps({"counts": counts, "pi": math.pi}, sort_keys=True)
    now = datetime.datetime.now(datetime.timezone.utc).isoformat()
    # the C library looks for a name service first, by a socket, and remembers that there is none
    for find in (pwd.getpwuid, grp.getgrgid):
        try:
            find(65534)
        except KeyError:
            pass  # without a tree of our own the machine's list is out of sight
    try:
        raise ValueError("a sample")
    except ValueError as error:
        caught = f"{type(error).__name__}: {error!r:>20}"
    return {"total": total, "text": text, "now": now, "caught": caught,
            "names": fnmatch.filter(["a.csv"], "*"),  # pathlib, glob and shutil import it
            "pick": random.choice(string.ascii_letters), "sorted": sorted(counts.items())}
