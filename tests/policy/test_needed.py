"""What people use works under the policy, and makes no call that it refuses: the log names none."""

import json
import re
import time

import pytest

from supervision import eventually

SCRIPTS = {
    "threads": """
import concurrent.futures, queue, threading
def main():
    q, done = queue.Queue(), threading.Event()
    workers = [threading.Thread(target=lambda: q.put(threading.get_native_id()))
               for i in range(8)]
    [w.start() for w in workers], [w.join(5) for w in workers]
    threading.Timer(0.01, done.set).start()
    barrier, local = threading.Barrier(2), threading.local()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return [sum(pool.map(abs, range(-4, 0))), done.wait(2), q.qsize()]
""",
    "processes": """
import concurrent.futures, multiprocessing as mp
from multiprocessing import shared_memory
def square(x): return x * x
def child(queue, lock, value, event, connection):
    with lock:
        value.value += 1
    queue.put('q'); connection.send(['c']); event.set()
def main():
    queue, lock, value, event = mp.Queue(), mp.Lock(), mp.Value('i', 1), mp.Event()
    here, there = mp.Pipe()
    process = mp.Process(target=child, args=(queue, lock, value, event, there))
    process.start(); got = queue.get(timeout=5); process.join()
    shm = shared_memory.SharedMemory(create=True, size=100); shm.buf[0] = 7; shm.close()
    shm.unlink()
    with mp.Pool(2) as pool, concurrent.futures.ProcessPoolExecutor(2) as executor:
        return [pool.map(square, [2]), list(executor.map(square, [3])), got, value.value,
                event.wait(1), here.recv(), process.exitcode]
""",
    "asyncio": """
import asyncio, os, signal
async def main():
    loop, queue, seen = asyncio.get_running_loop(), asyncio.Queue(), asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, seen.set)
    os.kill(os.getpid(), signal.SIGUSR1)
    await asyncio.wait_for(seen.wait(), 2)
    reading, writing = os.pipe()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading))
    os.write(writing, b'line\\n')
    await asyncio.gather(queue.put(1), asyncio.sleep(0.01))
    return [await asyncio.to_thread(os.getpid) > 0, (await reader.readline()).decode(),
            await loop.run_in_executor(None, abs, -1), await queue.get()]
""",
    "sqlite": """
import sqlite3
def main():
    seen = []
    for mode in ('delete', 'wal', 'memory', 'truncate'):
        one, two = (sqlite3.connect('/tmp/%s.db' % mode, isolation_level=None) for i in (1, 2))
        one.execute('pragma journal_mode=' + mode); one.execute('create table t(a)')
        one.execute('begin immediate'); one.execute('insert into t values (1)')
        two.execute('pragma busy_timeout=20')
        try:
            two.execute('begin immediate')
        except sqlite3.OperationalError as error:
            seen.append(str(error))
        one.execute('commit')
        seen.append(two.execute('select * from t').fetchall())
        one.backup(sqlite3.connect(':memory:')); one.execute('vacuum')
    return seen
""",
    "files": """
import bz2, gzip, lzma, os, pathlib, shutil, stat, tarfile, tempfile, zipfile
def main():
    with tempfile.TemporaryDirectory() as top, tempfile.NamedTemporaryFile() as named, \\
            tempfile.SpooledTemporaryFile(10) as spooled, tempfile.TemporaryFile() as plain:
        spooled.write(b'x' * 100); named.write(b'x'); plain.write(b'x')
        os.chdir(top); os.makedirs('a/b'); path = pathlib.Path('a/b/c.txt')
        path.write_text('hi' * 9999)
        shutil.copy('a/b/c.txt', 'd'), shutil.copy2('d', 'e'), shutil.copytree('a', 'f')
        shutil.move('d', 'g')
        os.link('e', 'h'), os.symlink('e', 'i'), os.replace('h', 'j'), os.rename('j', 'k')
        os.readlink('i')
        os.chmod('e', 0o600), os.chmod('e', 0o600, dir_fd=os.open('.', 0)), os.utime('e', (1, 2))
        os.mkfifo('l')
        os.truncate('e', 5), os.access('e', os.R_OK), os.access('e', os.R_OK, effective_ids=True)
        os.pathconf('/tmp', 'PC_NAME_MAX'), os.pathconf('/tmp', 'PC_LINK_MAX')
        for opener in (bz2.open, gzip.open, lzma.open):
            with opener('z', 'wb') as file: file.write(b'data')
        shutil.make_archive('m', 'zip', 'a'), shutil.make_archive('n', 'gztar', 'a')
        shutil.unpack_archive('m.zip', 'o'), shutil.unpack_archive('n.tar.gz', 'p')
        names = sorted(entry.name for entry in os.scandir('.'))
        list(os.walk('.')), list(pathlib.Path('.').rglob('*'))
        shutil.rmtree('o'), os.umask(0o22)
        stat.S_ISFIFO(os.stat('l').st_mode)
        os.chdir('/tmp')
        return len(names)
""",
    "descriptors": """
import fcntl, io, os, select, selectors, socket, termios
def main():
    fd = os.open('/tmp/x', os.O_RDWR | os.O_CREAT)
    other = os.open('/tmp/y', os.O_RDWR | os.O_CREAT)
    os.write(fd, b'0123456789'), os.pwrite(fd, b'a', 0), os.pread(fd, 2, 0)
    os.pwritev(fd, [b'b'], 0)
    os.preadv(fd, [bytearray(1)], 0), os.readv(fd, [bytearray(1)]), os.writev(fd, [b'c'])
    os.lseek(fd, 0, 0)
    os.fsync(fd), os.fdatasync(fd), os.ftruncate(fd, 8), os.posix_fallocate(fd, 0, 16)
    os.fchmod(fd, 0o600)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_WILLNEED), os.sendfile(other, fd, 0, 4)
    os.copy_file_range(fd, other, 4)
    fcntl.lockf(fd, fcntl.LOCK_EX), fcntl.lockf(fd, fcntl.LOCK_UN), os.dup2(os.dup(fd), 99)
    os.isatty(0)
    os.set_inheritable(fd, True), os.set_blocking(fd, True), os.closerange(90, 100)
    os.fdopen(fd).close()
    one, two = socket.socketpair(); one.sendall(b'x'); one.settimeout(1); two.recv(1)
    one.sendmsg([b'y']), two.recvmsg(1), two.setblocking(False), one.shutdown(1)
    socket.socket(fileno=two.detach())
    reading, writing = os.pipe(); os.write(writing, b'x'); event = os.eventfd(0)
    os.eventfd_write(event, 1)
    poll = select.poll(); poll.register(reading); poll.poll(1); epoll = select.epoll()
    epoll.register(reading); epoll.poll(1)
    select.select([reading], [], [], 0.01); selectors.DefaultSelector().register(reading, 1)
    os.eventfd_read(event)
    try:
        termios.tcgetattr(0)
    except termios.error as error:
        return error.args[0]
""",
    "memory": """
import array, ctypes, mmap
def main():
    anonymous = mmap.mmap(-1, 1 << 20); anonymous[:3] = b'abc'
    anonymous.madvise(mmap.MADV_DONTNEED)
    mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ)
    open('/tmp/m', 'wb').write(bytes(8192)); file = open('/tmp/m', 'r+b')
    mapped = mmap.mmap(file.fileno(), 0)
    mapped[0] = 1; mapped.flush(); mapped.resize(16384); big = bytearray(300 << 20); del big
    pointer = ctypes.POINTER(ctypes.c_int)
    compare = ctypes.CFUNCTYPE(ctypes.c_int, pointer, pointer)
    values = (ctypes.c_int * 5)(5, 1, 4, 2, 3)
    ctypes.CDLL(None).qsort(values, 5, 4, compare(lambda a, b: a[0] - b[0]))
    return list(values)
""",
    "signals": """
import faulthandler, os, signal, threading, time
def main():
    got = []
    signal.signal(signal.SIGALRM, lambda *a: got.append('alarm')); signal.alarm(1)
    signal.alarm(0)
    signal.setitimer(signal.ITIMER_REAL, 0.01); time.sleep(0.05)
    signal.getitimer(signal.ITIMER_REAL)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGUSR2})
    os.kill(os.getpid(), signal.SIGUSR1)
    got.append(signal.SIGUSR1 in signal.sigpending()); signal.sigwait({signal.SIGUSR1})
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)
    signal.sigtimedwait({signal.SIGUSR2}, 1)
    signal.raise_signal(signal.SIGALRM); faulthandler.enable()
    faulthandler.dump_traceback_later(60)
    child = os.fork()
    if not child:
        signal.pause()
    os.kill(child, signal.SIGTERM); os.waitid(os.P_PID, child, os.WEXITED)
    return got
""",
    "oneself": """
import getpass, locale, os, platform, resource, socket, sys, threading, time, uuid, zoneinfo
import datetime
def main():
    os.times(), os.uname(), os.getgroups(), os.getresuid(), os.getpgid(0), os.getsid(0)
    os.getpriority(0, 0), os.nice(1)
    os.sched_getscheduler(0), os.sched_getparam(0)
    os.sched_getaffinity(0), os.sched_yield(), os.cpu_count(), os.sysconf('SC_PHYS_PAGES')
    os.getlogin if 0 else None
    resource.getrusage(0), resource.getrlimit(7), resource.setrlimit(7, (100, 256))
    os.getrandom(8), os.get_exec_path()
    time.sleep(0.001), time.clock_gettime(1), time.process_time(), time.thread_time()
    time.localtime(), uuid.uuid4()
    zoneinfo.ZoneInfo('Europe/Zurich'), datetime.datetime.now().astimezone(), locale.getlocale()
    getpass.getuser()
    platform.machine(), platform.node(), socket.gethostname(), threading.stack_size(1 << 20)
    sys.getallocatedblocks()
    os.register_at_fork(before=lambda: None), os.waitpid(os.fork() or os._exit(0), 0)
    os.ctermid(), os.cpu_count()
    os.setpgid(0, 0) if os.getpgid(0) != os.getpid() else None
    return os.getpid() > 1
""",
    "standard library": """
import cProfile, csv, dbm.dumb, decimal, doctest, email.message, fractions, hashlib, hmac, html
import http, io, logging
import logging.handlers, mailbox, pickle, secrets, shelve, ssl, statistics, string, tracemalloc
import unittest, xml.etree.ElementTree
def main():
    tracemalloc.start()
    logging.getLogger().addHandler(logging.handlers.RotatingFileHandler('/tmp/log'))
    logging.warning('x'); dbm.dumb.open('/tmp/dumb', 'c').close()
    shelf = shelve.open('/tmp/shelf'); shelf['a'] = [1]; shelf.close()
    box = mailbox.mbox('/tmp/box'); box.lock(); box.add(email.message.EmailMessage()); box.flush()
    box.unlock()
    ssl.create_default_context(), ssl.RAND_bytes(4)
    hashlib.scrypt(b'a', salt=b'b', n=2, r=1, p=1), secrets.token_hex()
    profile = cProfile.Profile(); profile.runcall(sorted, [2, 1])
    pickle.loads(pickle.dumps(decimal.Decimal('1.5')))
    return unittest.TestResult().wasSuccessful()
""",
    "numpy": """
import numpy as np
def main():
    a = np.random.default_rng(1).random((300, 300)); np.linalg.inv(a) @ a; np.fft.fft2(a)
    np.linalg.svd(a)
    np.save('/tmp/a.npy', a); np.load('/tmp/a.npy', mmap_mode='r+')[0, 0] = 2
    m = np.memmap('/tmp/m', 'f8', 'w+', shape=(9, 9))
    m[:] = 1; m.flush(); np.savez_compressed('/tmp/b.npz', a=a); big = np.ones((4000, 4000))
    return float(big.sum())
""",
    "pandas": """
import pandas as pd
def main():
    frame = pd.DataFrame({'a': range(1000), 'b': ['x', 'y'] * 500,
                          'c': pd.date_range('2024-01-01', periods=1000)})
    frame.to_csv('/tmp/f.csv'); frame.to_pickle('/tmp/f.pkl'); frame.to_json('/tmp/f.json')
    again = pd.read_csv('/tmp/f.csv', parse_dates=['c']); again.groupby('b').a.rolling(3).mean()
    again.merge(frame, on='a')
    frame.c.dt.tz_localize('UTC').dt.tz_convert('Europe/Zurich')
    return int(again.query('a > 5').a.sum())
""",
    "scipy": """
import numpy as np
from scipy import fft, integrate, interpolate, linalg, optimize, signal, sparse, spatial, stats
import scipy.sparse.linalg
def main():
    optimize.minimize(lambda x: (x ** 2).sum(), np.ones(3)); integrate.quad(np.sin, 0, 1)
    linalg.eigh(np.eye(50))
    stats.ttest_ind(range(9), range(1, 10))
    sparse.linalg.spsolve(sparse.eye(9).tocsc(), np.ones(9)); fft.fft(np.ones(64), workers=2)
    spatial.cKDTree(np.random.rand(50, 3)).query(np.zeros(3), workers=2)
    signal.welch(np.random.rand(512))
    return float(interpolate.interp1d([0, 1], [0, 1])(0.5))
""",
    "matplotlib": """
import matplotlib.pyplot as plt
def main():
    figure, axes = plt.subplots(2); axes[0].plot([1, 2]); axes[1].hist([1, 2, 2])
    figure.suptitle('$x^2$')
    for kind in ('png', 'pdf', 'svg', 'jpg'):
        figure.savefig('/tmp/figure.' + kind)
    return 1
""",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_need_no_more(service, name):
    """It ends with a value, and the filter refused nothing that it tried."""
    body = json.dumps({"script": SCRIPTS[name], "timeout": 60})
    for attempt in range(20):
        request_id = f"needed-{name.replace(' ', '-')}-{attempt}"
        answer = service.post(body, X_Request_Id=request_id)
        assert answer.status == 200, answer
        if name != "matplotlib" or answer.data["usage"]["template"] == name:
            break  # where it is not warm, matplotlib looks for fonts with another program first
        time.sleep(0.2)
    assert eventually(lambda: request_id in service.log(), 5)
    assert re.findall(rf'{request_id}".*"refused"', service.log()) == []
