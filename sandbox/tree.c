#include "sandbox/tree.h"

#include "sandbox/scope.h"
#include "sandbox/tree_objects.h"
#include "sandbox/warden_call.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <time.h>

#ifndef VIVARIUM_MULTIARCH
#error "VIVARIUM_MULTIARCH: the directory below /usr/lib with the shared objects"
#endif

#define LIBRARIES "/usr/lib/" VIVARIUM_MULTIARCH

/* Where the new root is put together, in a mount namespace that nobody else sees. */
static const char STAGE[] = "/tmp";

/* Bound read-only from the host, at the same path; "%s" is the interpreter's name. */
static const struct bind {
	const char *path;
	bool required;
} binds[] = {
	{"/usr/lib/%s", true}, /* the standard library */
	{"/usr/lib/python3", true}, /* Debian's packages for it */
	{LIBRARIES, true}, /* shared objects */
	{"/usr/share/zoneinfo", true},
	{"/usr/share/matplotlib", false},
	{"/usr/share/python3-plotly", false},
	{"/usr/share/fonts", false},
	{"/usr/share/ca-certificates", false},
	{"/etc/ssl/certs", false},
	{"/dev/null", true},
	{"/dev/zero", true},
	{"/dev/full", true},
	{"/dev/random", true},
	{"/dev/urandom", true},
};

static const struct link {
	const char *path, *target;
} links[] = {
	{"/lib", "usr/lib"},
	{"/etc/localtime", "/usr/share/zoneinfo/UTC"},
	{"/etc/ssl/cert.pem", "/etc/ssl/certs/ca-certificates.crt"},
	{"/dev/shm", "/tmp"},
	{"/dev/fd", "/proc/self/fd"},
	/* There is no procfs, but TensorFlow ends the process that cannot tell it who it is. */
	{"/proc/self/exe", "/usr/bin/python3"},
};

static const struct file {
	const char *path, *text;
} files[] = {
	{"/etc/passwd", "nobody:x:65534:65534:nobody:/tmp:/usr/sbin/nologin\n"},
	{"/etc/group", "nogroup:x:65534:\n"},
	{"/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"},
	{"/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"},
	{"/etc/timezone", "Etc/UTC\n"},
	{"/proc/self/cmdline", "/usr/bin/python3"},
	/* psutil, which joblib imports, complains at length where there is none */
	{"/proc/stat", "cpu  0 0 0 0 0 0 0 0 0 0\n"},
};

/*
 * Copied from the host where it has them: settings of libraries, and the processor's own account of
 * itself (CPUID tells any program), without which PyTorch uses none of its vector instructions.
 */
static const char *const copies[] = {"/etc/matplotlibrc", "/etc/mime.types", "/proc/cpuinfo"};

enum {
	PATH_BYTES = 512,
	COPY_MAX_BYTES = 1024 * 1024,
	TMP_FILE_BYTES = 1024, /* of the kernel's, for a file of a tmpfs and its name */
};

static int staged(char path[PATH_BYTES], const char *absolute, struct err *err)
{
	if (snprintf(path, PATH_BYTES, "%s%s", STAGE, absolute) >= PATH_BYTES)
		return err_set(err, ENAMETOOLONG, "stage %s", absolute);
	return 0;
}

static int make_parents(const char *absolute, struct err *err)
{
	char path[PATH_BYTES], *slash;
	int r = staged(path, absolute, err);

	for (slash = path + sizeof(STAGE); !r && (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			r = err_set(err, errno, "make directory %s of the tree", path);
		*slash = '/';
	}
	return r;
}

static int write_file(const char *absolute, const char *text, size_t length, struct err *err)
{
	char path[PATH_BYTES];
	int r = make_parents(absolute, err);
	SCOPE_FD fd = -1;

	if (!r)
		r = staged(path, absolute, err);
	if (r < 0)
		return r;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
	if (fd < 0 || write(fd, text, length) != (ssize_t)length)
		return err_set(err, errno, "write %s of the tree", absolute);
	return 0;
}

static int copy_file(const char *absolute, struct err *err)
{
	SCOPE_FREE char *text = malloc(COPY_MAX_BYTES);
	SCOPE_FD fd = open(absolute, O_RDONLY | O_CLOEXEC);
	size_t length = 0;
	ssize_t n;

	if (fd < 0)
		return 0;
	if (!text)
		return err_set(err, ENOMEM, "copy %s", absolute);
	while ((n = read(fd, text + length, COPY_MAX_BYTES - length)) > 0)
		length += (size_t)n;
	if (n < 0)
		return err_set(err, errno, "read %s", absolute);
	return write_file(absolute, text, length, err);
}

static int make_link(const char *absolute, const char *target, struct err *err)
{
	char path[PATH_BYTES];
	int r = make_parents(absolute, err);

	if (!r)
		r = staged(path, absolute, err);
	if (!r && symlink(target, path) < 0)
		r = err_set(err, errno, "link %s of the tree", absolute);
	return r;
}

/*
 * Debian's libblas.so.3 and liblapack.so.3 lead through /etc/alternatives: of its many entries
 * only those links that end in the directory of shared objects come along.
 */
static int copy_alternatives(struct err *err)
{
	char path[PATH_BYTES], target[PATH_BYTES];
	DIR *directory = opendir("/etc/alternatives");
	struct dirent *entry;
	ssize_t n;
	int r = 0;

	if (!directory)
		return 0;
	while (!r && (entry = readdir(directory))) {
		n = readlinkat(dirfd(directory), entry->d_name, target, sizeof(target) - 1);
		if (n <= 0 || strncmp(target, LIBRARIES "/", sizeof(LIBRARIES)) != 0 ||
			!strstr(entry->d_name, ".so."))
			continue;
		target[n] = '\0';
		if (snprintf(path, sizeof(path), "/etc/alternatives/%s", entry->d_name) >=
			(int)sizeof(path))
			continue;
		r = make_link(path, target, err);
	}
	closedir(directory);
	return r;
}

static int make_mount_point(const char *absolute, bool directory, struct err *err)
{
	char path[PATH_BYTES];
	int r;

	if (!directory)
		return write_file(absolute, "", 0, err);
	r = make_parents(absolute, err);
	if (!r)
		r = staged(path, absolute, err);
	if (!r && mkdir(path, 0755) < 0)
		r = err_set(err, errno, "make directory %s of the tree", absolute);
	return r;
}

/*
 * Attaches a copy of a mount, which is made read-only before that: there is no moment at which it
 * could be written (mount_setattr(2), open_tree(2); Linux 5.12).
 */
static int attach(int tree, const char *absolute, struct err *err)
{
	struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID};
	char path[PATH_BYTES];
	struct stat status;
	int r;

	if (fstat(tree, &status) < 0)
		return err_set(err, errno, "bind %s", absolute);
	if (!S_ISCHR(status.st_mode))
		attributes.attr_set |= MOUNT_ATTR_NODEV;
	r = make_mount_point(absolute, S_ISDIR(status.st_mode), err);
	if (!r)
		r = staged(path, absolute, err);
	if (r < 0)
		return r;
	if (mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes,
		    sizeof(attributes)) < 0)
		return err_set(err, errno, "make %s read-only", absolute);
	if (move_mount(tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_set(err, errno, "attach %s", absolute);
	return 0;
}

static int copy_mount(const char *absolute)
{
	return open_tree(AT_FDCWD, absolute, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
}

static int bind_path(const char *absolute, bool required, struct err *err)
{
	SCOPE_FD tree = copy_mount(absolute);

	if (tree < 0 && errno == ENOENT && !required)
		return 0;
	return tree < 0 ? err_set(err, errno, "bind %s", absolute) : attach(tree, absolute, err);
}

/* The path of a row, with the interpreter's name in it. */
static void fill_path(char path[PATH_BYTES], const struct bind *bind, const char *python)
{
	const char *marker = strstr(bind->path, "%s");

	snprintf(path, PATH_BYTES, "%.*s%s",
		marker ? (int)(marker - bind->path) : (int)strlen(bind->path), bind->path,
		marker ? python : "");
}

static int add_binds(const char *python, struct err *err)
{
	char path[PATH_BYTES];
	size_t i;
	int r = 0;

	for (i = 0; !r && i < sizeof(binds) / sizeof(binds[0]); i++) {
		fill_path(path, &binds[i], python);
		r = bind_path(path, binds[i].required, err);
	}
	return r;
}

static int add_objects(struct err *err)
{
	struct tree_objects objects;
	const struct tree_object *object;
	size_t i;
	int r = tree_objects_find(&objects, err);

	for (i = 0; !r && i < objects.count; i++) {
		object = &objects.object[i];
		r = *object->target ? make_link(object->path, object->target, err)
				    : bind_path(object->path, true, err);
	}
	return r;
}

static int add_own_files(struct err *err)
{
	size_t i;
	int r = make_mount_point("/tmp", true, err);

	for (i = 0; !r && i < sizeof(files) / sizeof(files[0]); i++)
		r = write_file(files[i].path, files[i].text, strlen(files[i].text), err);
	for (i = 0; !r && i < sizeof(copies) / sizeof(copies[0]); i++)
		r = copy_file(copies[i], err);
	for (i = 0; !r && i < sizeof(links) / sizeof(links[0]); i++)
		r = make_link(links[i].path, links[i].target, err);
	if (!r)
		r = copy_alternatives(err);
	return r;
}

/*
 * A mounted tmpfs on `target`: fsopen(2), fsconfig(2), fsmount(2), move_mount(2). Wardens do this
 * under their filter.
 */
static int mount_tmpfs(const char *target, const char *const *options, unsigned attributes,
	struct err *err)
{
	SCOPE_FD context =
		(int)warden_call(SYS_fsopen, (long)"tmpfs", FSOPEN_CLOEXEC, 0, 0, 0);
	SCOPE_FD mount = -1;

	if (context < 0)
		return err_set(err, errno, "open a tmpfs");
	for (; *options; options += 2) {
		if (warden_call(SYS_fsconfig, context, FSCONFIG_SET_STRING, (long)options[0],
			    (long)options[1], 0) < 0)
			return err_set(err, errno, "tmpfs %s=%s", options[0], options[1]);
	}
	if (warden_call(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, 0, 0, 0) < 0)
		return err_set(err, errno, "create a tmpfs");
	mount = (int)warden_call(SYS_fsmount, context, FSMOUNT_CLOEXEC, attributes, 0, 0);
	if (mount < 0)
		return err_set(err, errno, "mount a tmpfs");
	if (warden_call(SYS_move_mount, mount, (long)"", AT_FDCWD, (long)target,
		    MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_set(err, errno, "attach a tmpfs to %s", target);
	return 0;
}

static int stage_root(struct err *err)
{
	static const char *const options[] = {
		"mode", "0755", "size", "4m", "nr_inodes", "4096", NULL, NULL};

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return err_set(err, errno, "make mounts private");
	return mount_tmpfs(STAGE, options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, err);
}

/* pivot_root(2), "pivot_root(".", ".")": the old root lands on top of the new one, and goes. */
static int pivot(struct err *err)
{
	struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};

	if (chdir(STAGE) < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
		return err_set(err, errno, "pivot into the tree");
	if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return err_set(err, errno, "let the old root go");
	if (mount_setattr(AT_FDCWD, "/", 0, &attributes, sizeof(attributes)) < 0)
		return err_set(err, errno, "make the tree read-only");
	return 0;
}

/* The stage hides what lies in /tmp, where a virtual environment may well be: that comes first. */
int tree_enter(const char *python, const char *venv, struct err *err)
{
	SCOPE_FD packages = *venv ? copy_mount(venv) : -1;
	int r = *venv && packages < 0 ? err_set(err, errno, "bind python_venv") : stage_root(err);

	if (!r)
		r = add_binds(python, err);
	if (!r)
		r = add_objects(err);
	if (!r && packages >= 0)
		r = attach(packages, TREE_VENV, err);
	if (!r)
		r = add_own_files(err);
	return r < 0 ? r : pivot(err);
}

int tree_enter_empty(struct err *err)
{
	int r = stage_root(err);

	return r < 0 ? r : pivot(err);
}

enum {
	BINDS = sizeof(binds) / sizeof(binds[0]),
	COPIES = sizeof(copies) / sizeof(copies[0]),
	FURTHER_MAX = 8,
};

/* Devices are written to as well: what they swallow is nobody's. */
int tree_landlock(const char *python, const struct landlock_rule *further, size_t count,
	struct err *err)
{
	struct landlock_rule rules[BINDS + COPIES + 1 + TREE_OBJECTS_MAX + FURTHER_MAX];
	char paths[BINDS][PATH_BYTES];
	/* looked for once: under the rules nobody can look again */
	static struct tree_objects objects;
	static bool have_objects;
	size_t used = 0, i;
	int r = 0;

	if (count > FURTHER_MAX)
		return err_set(err, E2BIG, "put Landlock rules together");
	if (!have_objects)
		r = tree_objects_find(&objects, err);
	if (r < 0)
		return r;
	have_objects = true;
	for (i = 0; i < BINDS; i++) {
		fill_path(paths[i], &binds[i], python);
		rules[used++] = (struct landlock_rule){.path = paths[i],
			.writable = strncmp(paths[i], "/dev/", 5) == 0,
			.optional = !binds[i].required};
	}
	for (i = 0; i < COPIES; i++)
		rules[used++] = (struct landlock_rule){.path = copies[i], .optional = true};
	for (i = 0; i < objects.count; i++)
		rules[used++] = (struct landlock_rule){.path = objects.object[i].path, .optional = true};
	rules[used++] = (struct landlock_rule){.path = "/etc/ld.so.cache", .optional = true};
	memcpy(rules + used, further, count * sizeof(*further));
	return landlock_confine(rules, used + count, true, err);
}

int tree_enter_probe(struct err *err)
{
	int r = stage_root(err);

	if (!r)
		r = bind_path("/dev/null", true, err);
	return r < 0 ? r : pivot(err);
}

int tree_mount_proc(struct err *err)
{
	SCOPE_FD context = fsopen("proc", FSOPEN_CLOEXEC);
	int mount;

	if (context < 0 || fsconfig(context, FSCONFIG_SET_STRING, "subset", "pid", 0) < 0 ||
		fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return err_set(err, errno,
			"make a procfs (is /proc of this machine or container masked?)");
	mount = fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	return mount < 0 ? err_set(err, errno, "mount a procfs") : mount;
}

static int look(struct timespec *changed, uint64_t *files_free, uint64_t *blocks_free)
{
	struct stat status;
	struct statfs usage;

	if (stat("/tmp", &status) < 0 ||
		warden_call(SYS_statfs, (long)"/tmp", (long)&usage, 0, 0, 0) < 0)
		return -errno;
	*changed = status.st_ctim;
	*files_free = usage.f_ffree;
	*blocks_free = usage.f_bfree;
	return 0;
}

/*
 * A file without a name (O_TMPFILE) leaves nothing of itself but this: a tmpfs gives its files
 * ascending numbers, and a script may look at them.
 */
static int draw_number(uint64_t *number)
{
	SCOPE_FD fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	struct stat status;

	if (fd < 0 || fstat(fd, &status) < 0)
		return -errno;
	*number = status.st_ino;
	return 0;
}

int tree_tmp_replace(struct tree_tmp *tmp, struct err *err)
{
	char size[32], inodes[32];
	const char *const options[] = {
		"mode", "1777", "size", size, "nr_inodes", inodes, NULL, NULL};
	int r;

	if (tmp->mounted && warden_call(SYS_umount2, (long)"/tmp", MNT_DETACH, 0, 0, 0) < 0)
		return err_set(err, errno, "unmount /tmp");
	tmp->mounted = false;
	snprintf(size, sizeof(size), "%um", tmp->size_mib);
	snprintf(inodes, sizeof(inodes), "%u", tmp->inodes);
	r = mount_tmpfs("/tmp", options,
		MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOATIME, err);
	if (r < 0)
		return r;
	tmp->mounted = true;
	r = draw_number(&tmp->next_number);
	tmp->next_number++;
	if (!r)
		r = look(&tmp->changed, &tmp->files_free, &tmp->blocks_free);
	return r < 0 ? err_set(err, -r, "look at /tmp") : 0;
}

uint64_t tree_tmp_used_bytes(const struct tree_tmp *tmp)
{
	struct timespec changed;
	uint64_t files_free = tmp->files_free, blocks_free = tmp->blocks_free;

	look(&changed, &files_free, &blocks_free); /* where that fails nothing is in use */
	return (tmp->blocks_free - blocks_free) * (uint64_t)sysconf(_SC_PAGESIZE) +
	       (tmp->files_free - files_free) * TMP_FILE_BYTES;
}

bool tree_tmp_untouched(struct tree_tmp *tmp)
{
	struct timespec changed = {0};
	uint64_t files_free = 0, blocks_free = 0, number = 0;

	if (!tmp->mounted || look(&changed, &files_free, &blocks_free) < 0 ||
		draw_number(&number) < 0 || number != tmp->next_number++)
		return false;
	return changed.tv_sec == tmp->changed.tv_sec && changed.tv_nsec == tmp->changed.tv_nsec &&
		files_free == tmp->files_free && blocks_free == tmp->blocks_free;
}

void tree_tmp_settle(const struct tree_tmp *tmp)
{
	const struct timespec tick = {.tv_nsec = 500000};
	struct timespec now;
	int turns;

	/* bounded: a clock that is set back must not keep a cell from its work */
	for (turns = 0; turns < 40; turns++) {
		clock_gettime(CLOCK_REALTIME_COARSE, &now);
		if (now.tv_sec > tmp->changed.tv_sec ||
			(now.tv_sec == tmp->changed.tv_sec && now.tv_nsec > tmp->changed.tv_nsec))
			return;
		nanosleep(&tick, NULL);
	}
}
