/* `vivarium check`: what this machine offers, and whether the jail holds on it. */
#ifndef VIVARIUM_CHECK_COMMAND_H
#define VIVARIUM_CHECK_COMMAND_H

/*
 * Tries all layers of isolation and prints what is there (check_layers.h); then, if the
 * configuration could be served with that, launches an instance of one cell and attacks it
 * (check_attacks.h).
 * argv: as main's, without the word `check`. Returns the exit status: 0 all is well, 1 a layer is
 * missing or an attack came through, or one of exit_status.h.
 */
int check_command_main(int argc, char **argv);

#endif
