#include "sandbox/policy.h"

#include "sandbox/warden_call.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

struct parser {
	struct policy *policy;
	unsigned line;
	bool in_section;
	enum policy_section section;
	int error;
	struct err *err;
};

#define CONSTANT(name)                                                                             \
	{                                                                                          \
#name, name                                                                        \
	}

static const struct constant {
	const char *name;
	uint64_t value;
} constants[] = {
	CONSTANT(AF_UNIX),
	CONSTANT(SOCK_STREAM),
	CONSTANT(SOL_SOCKET),
	CONSTANT(SO_PASSCRED),
	CONSTANT(SO_TYPE),
	CONSTANT(SO_ERROR),
	CONSTANT(SO_DOMAIN),
	CONSTANT(SO_PROTOCOL),
	CONSTANT(MSG_OOB),
	CONSTANT(S_IFMT),
	CONSTANT(S_IFIFO),
	CONSTANT(S_IFREG),
	CONSTANT(F_DUPFD),
	CONSTANT(F_DUPFD_CLOEXEC),
	CONSTANT(F_GETFD),
	CONSTANT(F_SETFD),
	CONSTANT(F_ADD_SEALS),
	CONSTANT(F_GETFL),
	CONSTANT(F_SETFL),
	CONSTANT(F_GETLK),
	CONSTANT(F_SETLK),
	CONSTANT(F_SETLKW),
	CONSTANT(F_OFD_GETLK),
	CONSTANT(F_OFD_SETLK),
	CONSTANT(F_OFD_SETLKW),
	CONSTANT(TCGETS),
	CONSTANT(TIOCGWINSZ),
	CONSTANT(FIONREAD),
	CONSTANT(FIONBIO),
	CONSTANT(FIOCLEX),
	CONSTANT(FIONCLEX),
	CONSTANT(POSIX_FADV_DONTNEED),
	CONSTANT(POSIX_FADV_NOREUSE),
	CONSTANT(PROT_READ),
	CONSTANT(PROT_WRITE),
	CONSTANT(PROT_EXEC),
	CONSTANT(MAP_SHARED),
	CONSTANT(MAP_PRIVATE),
	CONSTANT(MAP_FIXED),
	CONSTANT(MAP_ANONYMOUS),
	CONSTANT(MAP_32BIT),
	CONSTANT(MAP_DENYWRITE),
	CONSTANT(MAP_EXECUTABLE),
	CONSTANT(MAP_NORESERVE),
	CONSTANT(MAP_POPULATE),
	CONSTANT(MAP_NONBLOCK),
	CONSTANT(MAP_STACK),
	CONSTANT(MAP_FIXED_NOREPLACE),
	CONSTANT(MREMAP_MAYMOVE),
	CONSTANT(MREMAP_FIXED),
	CONSTANT(MADV_NORMAL),
	CONSTANT(MADV_RANDOM),
	CONSTANT(MADV_SEQUENTIAL),
	CONSTANT(MADV_WILLNEED),
	CONSTANT(MADV_DONTNEED),
	CONSTANT(MADV_FREE),
	CONSTANT(MADV_DONTFORK),
	CONSTANT(MADV_DOFORK),
	CONSTANT(MADV_HUGEPAGE),
	CONSTANT(MADV_NOHUGEPAGE),
	CONSTANT(MADV_DONTDUMP),
	CONSTANT(MADV_DODUMP),
	CONSTANT(MADV_WIPEONFORK),
	CONSTANT(MADV_KEEPONFORK),
	CONSTANT(MADV_POPULATE_READ),
	CONSTANT(MADV_POPULATE_WRITE),
	CONSTANT(CLONE_VM),
	CONSTANT(CLONE_FS),
	CONSTANT(CLONE_FILES),
	CONSTANT(CLONE_SIGHAND),
	CONSTANT(CLONE_VFORK),
	CONSTANT(CLONE_THREAD),
	CONSTANT(CLONE_SYSVSEM),
	CONSTANT(CLONE_SETTLS),
	CONSTANT(CLONE_PARENT_SETTID),
	CONSTANT(CLONE_CHILD_CLEARTID),
	CONSTANT(CLONE_CHILD_SETTID),
	CONSTANT(CLONE_NEWUSER),
	CONSTANT(PRIO_PROCESS),
	CONSTANT(PR_SET_NAME),
	CONSTANT(PR_GET_NAME),
	CONSTANT(PR_GET_DUMPABLE),
	CONSTANT(PR_SET_DUMPABLE),
	CONSTANT(PR_SET_PDEATHSIG),
	CONSTANT(PR_GET_PDEATHSIG),
	CONSTANT(PR_CAPBSET_DROP),
	CONSTANT(PR_CAPBSET_READ),
	CONSTANT(PR_CAP_AMBIENT),
	CONSTANT(PR_SET_NO_NEW_PRIVS),
	CONSTANT(PR_GET_NO_NEW_PRIVS),
	CONSTANT(PR_GET_SECCOMP),
	CONSTANT(PR_SET_TIMERSLACK),
	CONSTANT(PR_SET_VMA),
	CONSTANT(WARDEN_CALL_MARK),
};

static const struct constant errors[] = {
	{"0", 0}, CONSTANT(EPERM), CONSTANT(ENOSYS), CONSTANT(ENOTSUP), CONSTANT(EACCES)};

static int fail(const struct parser *parser, const char *what, const char *where)
{
	return err_set(
		parser->err, EINVAL, "policy line %u: %s \"%.60s\"", parser->line, what, where);
}

static bool lookup(const struct constant *table, size_t count, const char *name, uint64_t *value)
{
	size_t i;

	for (i = 0; i < count; i++) {
		if (strcmp(table[i].name, name) == 0) {
			*value = table[i].value;
			return true;
		}
	}
	return false;
}

static int parse_number(const struct parser *parser, const char *word, uint64_t *value)
{
	char *end;

	if (lookup(constants, sizeof(constants) / sizeof(constants[0]), word, value))
		return 0;
	errno = 0;
	*value = strtoull(word, &end, 0);
	if (errno || !isdigit((unsigned char)*word) || *end)
		return fail(parser, "not a number or a known constant:", word);
	return 0;
}

/* "VALUE", "VALUE|VALUE", "~VALUE|VALUE": all bits but these. Takes the word apart. */
static int parse_value(const struct parser *parser, char *word, uint64_t *value)
{
	bool inverted = word && *word == '~';
	uint64_t bits;
	char *part;
	int r = word ? 0 : fail(parser, "not a number or a known constant:", "");

	*value = 0;
	if (inverted)
		word++;
	while (!r && (part = strsep(&word, "|"))) {
		r = parse_number(parser, part, &bits);
		*value |= r ? 0 : bits;
	}
	if (inverted)
		*value = ~*value;
	return r;
}

/* "argN == VALUE", "argN != VALUE", "argN & MASK == VALUE" */
static int parse_condition(const struct parser *parser, char *text, struct policy_rule *rule)
{
	struct policy_condition *condition = &rule->condition[rule->conditions];
	char *save = NULL, *word = strtok_r(text, " \t", &save);
	int r;

	if (rule->conditions == POLICY_CONDITIONS_MAX)
		return fail(parser, "too many conditions for", rule->name);
	if (!word || strncmp(word, "arg", 3) != 0 || word[3] < '0' || word[3] > '5' || word[4])
		return fail(parser, "a condition begins with arg0 to arg5, not", word ? word : "");
	*condition = (struct policy_condition){
		.argument = (unsigned)(word[3] - '0'), .mask = UINT64_MAX};
	word = strtok_r(NULL, " \t", &save);
	if (word && strcmp(word, "&") == 0) {
		word = strtok_r(NULL, " \t", &save);
		r = parse_value(parser, word, &condition->mask);
		if (r < 0)
			return r;
		word = strtok_r(NULL, " \t", &save);
	}
	if (!word || (strcmp(word, "==") != 0 && strcmp(word, "!=") != 0))
		return fail(parser, "expected == or != in the condition of", rule->name);
	condition->equal = *word == '=';
	word = strtok_r(NULL, " \t", &save);
	r = parse_value(parser, word, &condition->value);
	if (r < 0)
		return r;
	if (strtok_r(NULL, " \t", &save))
		return fail(parser, "text after the condition of", rule->name);
	if (condition->value & ~condition->mask) /* never equal, and always unequal */
		return fail(parser, "a value outside its mask in a condition of", rule->name);
	rule->conditions++;
	return 0;
}

static int add_rule(const struct parser *parser, char *name, struct policy_rule **added)
{
	struct policy_rule *rule;
	size_t length = strlen(name);

	if (!parser->in_section)
		return fail(parser, "a system call before the first [section]:", name);
	if (parser->policy->rules == POLICY_RULES_MAX)
		return fail(parser, "too many rules at", name);
	rule = &parser->policy->rule[parser->policy->rules];
	*rule = (struct policy_rule){
		.section = parser->section, .error = parser->error, .line = parser->line};
	if (length && name[length - 1] == '?') {
		rule->optional = true;
		name[--length] = '\0';
	}
	if (!length || length >= sizeof(rule->name) ||
		strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != length)
		return fail(parser, "not the name of a system call:", name);
	memcpy(rule->name, name, length + 1);
	parser->policy->rules++;
	*added = rule;
	return 0;
}

static int parse_section(struct parser *parser, char *line)
{
	size_t length = strlen(line);
	uint64_t error;

	if (line[length - 1] != ']')
		return fail(parser, "no closing bracket:", line);
	line[length - 1] = '\0';
	line++;
	parser->in_section = true;
	parser->error = 0;
	if (strcmp(line, "allow") == 0) {
		parser->section = POLICY_ALLOW;
	} else if (strcmp(line, "warden") == 0) {
		parser->section = POLICY_WARDEN;
	} else if (strncmp(line, "errno ", 6) == 0 &&
		   lookup(errors, sizeof(errors) / sizeof(errors[0]), line + 6, &error)) {
		parser->section = POLICY_ERRNO;
		parser->error = (int)error;
	} else {
		return fail(parser, "unknown section", line);
	}
	return 0;
}

static int parse_conditions(const struct parser *parser, char *line, char *colon)
{
	char *rest = colon + 1, *text;
	struct policy_rule *rule;
	int r;

	*colon = '\0';
	r = add_rule(parser, line, &rule);
	while (!r && (text = strsep(&rest, ",")))
		r = parse_condition(parser, text, rule);
	return r;
}

static int parse_line(struct parser *parser, char *line)
{
	char *save = NULL, *colon, *word;
	struct policy_rule *rule;
	int r = 0;

	line += strspn(line, " \t");
	line[strcspn(line, "#")] = '\0';
	while (*line && isspace((unsigned char)line[strlen(line) - 1]))
		line[strlen(line) - 1] = '\0';
	if (!*line)
		return 0;
	if (*line == '[')
		return parse_section(parser, line);
	colon = strchr(line, ':');
	if (colon)
		return parse_conditions(parser, line, colon);
	for (word = strtok_r(line, " \t", &save); word && !r; word = strtok_r(NULL, " \t", &save))
		r = add_rule(parser, word, &rule);
	return r;
}

int policy_parse(const char *text, size_t length, struct policy *policy, struct err *err)
{
	struct parser parser = {.policy = policy, .err = err};
	char line[512];
	const char *end;
	size_t span;
	int r = 0;

	policy->rules = 0;
	while (!r && length) {
		parser.line++;
		end = memchr(text, '\n', length);
		span = end ? (size_t)(end - text) : length;
		if (span >= sizeof(line) || memchr(text, '\0', span))
			return fail(&parser, "line too long, or with a NUL", "");
		memcpy(line, text, span);
		line[span] = '\0';
		r = parse_line(&parser, line);
		span += end ? 1 : 0;
		text += span;
		length -= span;
	}
	return r;
}

/* Names are few enough to be compared with each other. */
static bool is_allowed_before(const struct policy *policy, size_t index)
{
	size_t i;

	for (i = 0; i < index; i++) {
		if (policy->rule[i].section == POLICY_ALLOW &&
			strcmp(policy->rule[i].name, policy->rule[index].name) == 0)
			return true;
	}
	return false;
}

size_t policy_count_allowed(const struct policy *policy, size_t *conditional)
{
	size_t count = 0, i;

	*conditional = 0;
	for (i = 0; i < policy->rules; i++) {
		if (policy->rule[i].section != POLICY_ALLOW || is_allowed_before(policy, i))
			continue;
		count++;
		*conditional += policy->rule[i].conditions > 0;
	}
	return count;
}
