/* `vivarium serve`: FastCGI, until it is told to end. */
#ifndef VIVARIUM_SERVE_COMMAND_H
#define VIVARIUM_SERVE_COMMAND_H

/*
 * Makes what the service needs of the configuration and the files that it names, and launches it.
 * argv: as main's, without the word `serve`. Returns the exit status when the service has ended.
 */
int serve_command_main(int argc, char **argv);

#endif
