#include "sandbox/policy.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
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

static const struct constant {
	const char *name;
	uint64_t value;
} constants[] = {
	{"AF_UNIX", AF_UNIX},
	{"SOCK_STREAM", SOCK_STREAM},
	{"S_IFMT", S_IFMT},
	{"S_IFIFO", S_IFIFO},
	{"S_IFREG", S_IFREG},
	{"F_DUPFD", F_DUPFD},
	{"F_DUPFD_CLOEXEC", F_DUPFD_CLOEXEC},
	{"F_GETFD", F_GETFD},
	{"F_SETFD", F_SETFD},
	{"F_GETFL", F_GETFL},
	{"F_SETFL", F_SETFL},
	{"F_GETLK", F_GETLK},
	{"F_SETLK", F_SETLK},
	{"F_SETLKW", F_SETLKW},
	{"F_OFD_GETLK", F_OFD_GETLK},
	{"F_OFD_SETLK", F_OFD_SETLK},
	{"F_OFD_SETLKW", F_OFD_SETLKW},
	{"F_GETPIPE_SZ", F_GETPIPE_SZ},
	{"TCGETS", TCGETS},
	{"TIOCGWINSZ", TIOCGWINSZ},
	{"FIONREAD", FIONREAD},
	{"FIONBIO", FIONBIO},
	{"FIOCLEX", FIOCLEX},
	{"FIONCLEX", FIONCLEX},
	{"PRIO_PROCESS", PRIO_PROCESS},
	{"SOL_SOCKET", SOL_SOCKET},
	{"SO_PASSCRED", SO_PASSCRED},
	{"SO_TYPE", SO_TYPE},
	{"SO_ERROR", SO_ERROR},
	{"SO_DOMAIN", SO_DOMAIN},
	{"SO_PROTOCOL", SO_PROTOCOL},
	{"PR_SET_NAME", PR_SET_NAME},
	{"PR_GET_NAME", PR_GET_NAME},
	{"PR_GET_DUMPABLE", PR_GET_DUMPABLE},
	{"PR_SET_DUMPABLE", PR_SET_DUMPABLE},
	{"PR_SET_PDEATHSIG", PR_SET_PDEATHSIG},
	{"PR_GET_PDEATHSIG", PR_GET_PDEATHSIG},
	{"PR_CAPBSET_DROP", PR_CAPBSET_DROP},
	{"PR_CAPBSET_READ", PR_CAPBSET_READ},
	{"PR_CAP_AMBIENT", PR_CAP_AMBIENT},
	{"PR_SET_NO_NEW_PRIVS", PR_SET_NO_NEW_PRIVS},
	{"PR_GET_NO_NEW_PRIVS", PR_GET_NO_NEW_PRIVS},
	{"PR_GET_SECCOMP", PR_GET_SECCOMP},
	{"PR_SET_TIMERSLACK", PR_SET_TIMERSLACK},
};

static const struct constant errors[] = {
	{"EPERM", EPERM}, {"ENOSYS", ENOSYS}, {"ENOTSUP", ENOTSUP}, {"EACCES", EACCES}};

static int fail(const struct parser *parser, const char *what, const char *where)
{
	return err_set(parser->err, EINVAL, "policy line %u: %s \"%.60s\"", parser->line, what, where);
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

static int parse_value(const struct parser *parser, const char *word, uint64_t *value)
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
		r = parse_value(parser, word ? word : "", &condition->mask);
		if (r < 0)
			return r;
		word = strtok_r(NULL, " \t", &save);
	}
	if (!word || (strcmp(word, "==") != 0 && strcmp(word, "!=") != 0))
		return fail(parser, "expected == or != in the condition of", rule->name);
	condition->equal = *word == '=';
	word = strtok_r(NULL, " \t", &save);
	r = parse_value(parser, word ? word : "", &condition->value);
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
