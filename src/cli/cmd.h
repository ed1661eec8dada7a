/* One function a verb. argv[0] is the verb; the options are its own. Results go to stdout, errors
 * have been printed on stderr when it returns; the value is the program's exit code. */
#ifndef VT_CLI_CMD_H
#define VT_CLI_CMD_H

#include "base/status.h"

typedef vt_status vt_cmd_fn(int argc, char **argv);

#define VT_VERB(name, suffix, arguments, help) vt_cmd_fn vt_cmd_##suffix;
#include "cli/verbs.def"

#endif
