#include "sweep/grid.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where the value that begins at `at` ends: at a comma outside of brackets and quotes, or at the
 * end of the text. NULL if something is open there, or closed that was not open. */
static const char *find_end(const char *at)
{
    char open[32];
    size_t depth = 0;
    for (const char *start = at; *at; at++) {
        char inner = depth ? open[depth - 1] : '\0';
        if (inner == '"' || inner == '\'') {
            if (inner == '"' && *at == '\\' && at[1])
                at++;
            else if (*at == inner)
                depth--;
            continue;
        }
        if (depth == 0 && *at == ',')
            return at;
        if (*at == ']' || *at == '}') {
            if (inner != *at)
                return NULL;
            depth--;
        }
        char closing = *at == '[' ? ']' : *at == '{' ? '}' : '\0';
        if ((*at == '"' || *at == '\'') && (at == start || strchr("[{,: ", at[-1])))
            closing = *at; /* elsewhere it is a letter of a plain text */
        if (closing && depth == sizeof open)
            return NULL;
        if (closing)
            open[depth++] = closing;
    }
    return depth == 0 ? at : NULL;
}

static vt_status check_key(const vt_grid *grid, const char *word, size_t size, vt_error *err)
{
    if (word[size] != '=' || size == 0)
        return vt_fail(err, VT_ERR_USAGE,
                       "a grid is key=value,value..., such as optim.lr=1e-3,3e-4, not '%.200s'",
                       word);
    if (grid->n_keys == VT_GRID_KEYS_MAX)
        return vt_fail(err, VT_ERR_USAGE, "a grid has at most %d keys", VT_GRID_KEYS_MAX);
    for (int i = 0; i < grid->n_keys; i++)
        if (strlen(grid->key[i].key) == size && strncmp(grid->key[i].key, word, size) == 0)
            return vt_fail(err, VT_ERR_USAGE, "the grid has the key '%s' twice", grid->key[i].key);
    return VT_OK;
}

vt_status vt_grid_add(vt_grid *grid, const char *word, vt_store *store, vt_error *err)
{
    size_t size = strcspn(word, "=");
    vt_status status = check_key(grid, word, size, err);
    if (status != VT_OK)
        return status;
    vt_grid_key *key = &grid->key[grid->n_keys];
    *key = (vt_grid_key){.key = vt_store_text(store, word, size)};
    int commas = 0;
    for (const char *c = word; *c; c++)
        commas += *c == ',';
    key->value = vt_store_take(store, ((size_t)commas + 1) * sizeof *key->value);
    for (const char *at = word + size + 1;; at++) {
        const char *end = find_end(at);
        if (!end)
            return vt_fail(err, VT_ERR_USAGE,
                           "a bracket, brace or quote of '%.200s' is not closed, or not opened",
                           at);
        if (end == at)
            return vt_fail(err, VT_ERR_USAGE, "a value is missing in '%.200s'", word);
        if (store->failed)
            return vt_fail(err, VT_ERR_NOMEM, "no memory for the grid");
        key->value[key->n++] = vt_store_text(store, at, (size_t)(end - at));
        at = end;
        if (!*at)
            break;
    }
    grid->n_keys++;
    return store->failed ? vt_fail(err, VT_ERR_NOMEM, "no memory for the grid") : VT_OK;
}

static bool read_seed(const char **at, int64_t *seed)
{
    char *end;
    errno = 0;
    if (**at < '0' || **at > '9')
        return false;
    *seed = strtoll(*at, &end, 10);
    *at = end;
    return errno == 0;
}

static vt_status add_seed(vt_grid *grid, int64_t seed, vt_error *err)
{
    for (int i = 0; i < grid->n_seeds; i++)
        if (grid->seed[i] == seed)
            return vt_fail(err, VT_ERR_USAGE, "the seed %" PRId64 " comes twice", seed);
    if (grid->n_seeds == VT_SEEDS_MAX)
        return vt_fail(err, VT_ERR_USAGE, "a sweep has at most %d seeds", VT_SEEDS_MAX);
    grid->seed[grid->n_seeds++] = seed;
    return VT_OK;
}

vt_status vt_grid_add_seeds(vt_grid *grid, const char *word, vt_error *err)
{
    vt_status status = VT_OK;
    const char *at = word;
    do {
        int64_t first = 0, last = 0;
        bool good = read_seed(&at, &first);
        last = first;
        if (good && at[0] == '.' && at[1] == '.') {
            at += 2;
            good = read_seed(&at, &last);
        }
        if (!good || first > last || (*at && *at != ','))
            return vt_fail(err, VT_ERR_USAGE,
                           "seeds are numbers up to 9223372036854775807 and ranges, such as 0..4 "
                           "or 0,3,7..9, not '%.200s'",
                           word);
        for (int64_t seed = first; status == VT_OK; seed++) {
            status = add_seed(grid, seed, err);
            if (seed == last)
                break;
        }
    } while (status == VT_OK && *at++ == ',');
    return status;
}

int vt_grid_settings(const vt_grid *grid)
{
    int n = 1;
    for (int key = 0; key < grid->n_keys; key++) {
        if (grid->key[key].n > VT_SWEEP_RUNS_MAX / n)
            return VT_SWEEP_RUNS_MAX + 1;
        n *= grid->key[key].n;
    }
    return n;
}

int vt_grid_choice(const vt_grid *grid, int i, int key)
{
    for (int last = grid->n_keys - 1; last > key; last--)
        i /= grid->key[last].n;
    return i % grid->key[key].n;
}
