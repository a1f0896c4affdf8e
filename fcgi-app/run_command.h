/* `vivarium run`: one script in the same jail, without HTTP. */
#ifndef VIVARIUM_RUN_COMMAND_H
#define VIVARIUM_RUN_COMMAND_H

/*
 * Launches an instance of one cell, runs the script in it, and prints: the value to standard
 * output, what the script printed and errors to standard error; or, asked for that, the answer as
 * HTTP would give it to standard output. Output files go where the command line says.
 * argv: as main's, without the word `run`. Returns the exit status: 0 a value, 1 the script failed,
 * or one of exit_status.h.
 */
int run_command_main(int argc, char **argv);

#endif
