/*
 * The manual page and the shells' completion, made from the same rows as the verbs' --help: every
 * verb is asked for its part by the argument --help=FORM.
 */
#ifndef VT_CLI_MANUAL_H
#define VT_CLI_MANUAL_H

#include "cli/options.h"

/* form, word, what it is */
#define VT_MANUAL_LIST(X)                                                                          \
    X(MAN, "man", "a manual page in troff's man macros")                                           \
    X(BASH, "bash", "completion for bash")                                                         \
    X(ZSH, "zsh", "completion for zsh")

typedef enum vt_manual_form {
#define X(name, word, help) VT_MANUAL_##name,
    VT_MANUAL_LIST(X)
#undef X
        VT_MANUAL_COUNT
} vt_manual_form;

/* Prints the whole on stdout; VT_ERR_USAGE for another word. */
vt_status vt_manual_print(const char *form);
/* A verb's part. False for another word. */
bool vt_manual_print_verb(const vt_usage *usage, const char *form);

#endif
