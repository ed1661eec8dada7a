/* VITRINE_TEST_CASE names one case of a test program, with * for any text: the others are left out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

__attribute__((constructor)) static void choose_case(void)
{
    const char *name = getenv("VITRINE_TEST_CASE");
    if (name)
        cmocka_set_test_filter(name);
}
