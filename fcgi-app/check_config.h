/* `vivarium --check-config`: whether the configuration is one, and what is in force by it. */
#ifndef VIVARIUM_CHECK_CONFIG_H
#define VIVARIUM_CHECK_CONFIG_H

/*
 * Reads the configuration and the files that it names, as a service does when it starts, and prints
 * every key with its value. argv: as main's, without the word itself. Returns the exit status.
 */
int check_config_main(int argc, char **argv);

#endif
