/* `vivarium key`: adds, lists and revokes keys in the key file, whether or not a service runs. */
#ifndef VIVARIUM_KEY_COMMAND_H
#define VIVARIUM_KEY_COMMAND_H

/*
 * Does what the words say: `add NAME` makes the file where there is none, and prints the key, which
 * nobody can ever do again; `list` prints what the file says of each key; `revoke NAME` takes one
 * out. argv: as main's, without the word `key`. Returns the exit status.
 */
int key_command_main(int argc, char **argv);

#endif
