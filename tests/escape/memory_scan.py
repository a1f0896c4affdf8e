# Part of an attack: finds words in all memory of its own process, without /proc.
#
# Words come reversed and memory is searched reversed, so that the search does not find itself;
# what was reversed is wiped at once, for the words as they come would then read forwards.
# Which pages can be read is asked of write(2), which says EFAULT where a read would be a fault.
import gc

PAGE = 4096
GAP_PAGES = 1 << 15  # unmapped ones in a row before a walk gives up
READING, WRITING = os.pipe()
LIBC.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
LIBC.write.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
LIBC.write.restype = ctypes.c_ssize_t
STATES = ctypes.create_string_buffer(GAP_PAGES)


def is_mapped(address):
    return LIBC.mincore(address, PAGE, STATES) == 0


TEXT = bytearray(64 + PAGE)  # the end of the page before, and a page
PLACE = memoryview(TEXT)[64:]


def read_page(address):
    """Puts a page into its place; False where reading is not allowed."""
    return LIBC.write(WRITING, address, PAGE) == PAGE and os.readv(READING, [PLACE]) == PAGE


def seeds():
    """Addresses that are known to be in use: objects, code, data and stack."""
    functions = (LIBC.malloc, LIBC.mincore, ctypes.pythonapi.Py_IsInitialized)
    known = {ctypes.cast(function, ctypes.c_void_p).value for function in functions}
    known.add(ctypes.addressof(ctypes.c_char.in_dll(LIBC, "environ")))
    known.add(ctypes.c_void_p.in_dll(LIBC, "environ").value)
    known.add(LIBC_HEAP)
    known.update(map(id, gc.get_objects()))
    known.update(map(id, (None, type, object, sys, STATES)))
    return {address // PAGE for address in known}


LIBC.malloc.restype = ctypes.c_void_p
LIBC_HEAP = LIBC.malloc(64)


def pages():
    """Numbers of all mapped pages near the known ones, gaps stepped over."""
    seen = set()
    for seed in sorted(seeds()):
        for step in (1, -1):
            number, gap = seed, 0
            while gap < GAP_PAGES and number not in seen and 0 < number < 1 << 35:
                if is_mapped(number * PAGE):
                    seen.add(number)
                    yield number
                    gap = 0
                else:
                    gap += 1
                number += step
            seen.discard(seed) if step == 1 else None


def scan(backward_words):
    """How often each word was seen, and how many bytes were looked at."""
    words = [word.encode() for word in backward_words]
    counts, size, end, last = [0] * len(words), 0, bytes(64), None
    for number in sorted(set(pages())):
        if not read_page(number * PAGE):
            continue
        size += PAGE
        TEXT[:64] = end if last == number - 1 else bytes(64)
        end, last = bytes(TEXT[-64:]), number
        TEXT.reverse()
        for index, word in enumerate(words):
            counts[index] += TEXT.count(word)
        TEXT[:] = bytes(len(TEXT))
    return counts, size
