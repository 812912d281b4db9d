/* `pivotal-sync up`: everything on this machine, started, watched and ended in order. */
#ifndef CMD_UP_H
#define CMD_UP_H

/** argv[0] is "up"; its own options are --demo and --once, else settings. Returns the exit
 * code. */
int up_main(int argc, char **argv);

#endif
