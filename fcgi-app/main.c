/* The command `vivarium`: which of its faces is asked for. */
#include "fcgi-app/check_command.h"
#include "fcgi-app/check_config.h"
#include "fcgi-app/exit_status.h"
#include "fcgi-app/key_command.h"
#include "fcgi-app/run_command.h"
#include "fcgi-app/serve_command.h"
#include "fcgi-app/version.h"

#include <stdio.h>
#include <string.h>

static const char help[] =
	"Vivarium runs untrusted Python in jailed, pre-warmed processes.\n"
	"\n"
	"  vivarium serve [--config FILE] [--set KEY=VALUE]... [--ready-fd N]\n"
	"      serve FastCGI on execute.sock and control.sock in runtime_dir until SIGTERM\n"
	"      (finish what runs) or SIGINT (stop at once); a newline is written to descriptor N\n"
	"      once scripts can be run\n"
	"  vivarium run [--config FILE] [--set KEY=VALUE]... [--timeout SECONDS] [--memory MIB]\n"
	"               [--entry NAME | --no-entry] [--arg VALUE]... [--kwarg NAME=VALUE]...\n"
	"               [--argv WORD]... [--env NAME=VALUE]... [--stdin FILE]\n"
	"               [--file PATH[=FILE]]... [--output GLOB]... [--encode strict|rich]\n"
	"               [--output-dir DIR] [--json] [--stream] SCRIPT\n"
	"      run one script (\"-\": standard input) in the same jail; what main() returns goes to\n"
	"      standard output as JSON, what is printed to standard error: at the end, or with\n"
	"      --stream while the script runs. Files that match --output are written beneath DIR; one\n"
	"      that is there already is left as it is and named, and the exit status is 125.\n"
	"      With --json the whole answer goes to standard output, figures and output files in it.\n"
	"      VALUE is JSON, or else a string. FILE is put into the working directory as PATH, or\n"
	"      becomes the script's standard input (\"-\": our own). Exit status: 0 a value, 1 the\n"
	"      script failed, 124 out of time, 125 Vivarium failed, 2 wrong usage\n"
	"  vivarium check [--config FILE] [--set KEY=VALUE]... [--json]\n"
	"      try every layer of isolation on this machine, say what is missing and its cure; then\n"
	"      attack the jail as it is configured. Exit status: 0 all is well, 1 something is\n"
	"      missing or an attack came through, 125 Vivarium failed, 2 wrong usage\n"
	"  vivarium key add NAME [--expires TIME|DAYSd|HOURSh|MINUTESm] [--rate N/s|N/m|N/h]\n"
	"               [--burst N] [--concurrent N] [--max-timeout SECONDS] [--max-memory MIB]\n"
	"  vivarium key list\n"
	"  vivarium key revoke NAME\n"
	"      edit the file of API keys, key_file of the configuration or --key-file FILE; a running\n"
	"      service sees to it within seconds. \"add\" prints the new key on standard output, this\n"
	"      once: the file has only a digest of it. Exit status: 0 done, 1 not, 2 wrong usage\n"
	"  vivarium --check-config [--config FILE] [--set KEY=VALUE]...\n"
	"      check the configuration and print what is in force\n"
	"  vivarium --version | --help\n";

static int show_version(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	printf("vivarium %s\n", VIVARIUM_VERSION);
	return 0;
}

static int show_help(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	fputs(help, stdout);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(int, char **);
	} commands[] = {{"serve", serve_command_main}, {"run", run_command_main},
		{"check", check_command_main}, {"key", key_command_main},
		{"--check-config", check_config_main}, {"--version", show_version},
		{"--help", show_help}};
	size_t i;

	for (i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[1], commands[i].name) == 0) {
			argv[1] = argv[0];
			return commands[i].run(argc - 1, argv + 1);
		}
	}
	fputs(help, stderr);
	return EXIT_STATUS_USAGE;
}
