/* Replays files through a fuzz target, for compilers without libFuzzer and for the corpus test. */
#include "core/error.h"
#include "core/memory.h"
#include "core/sys.h"

#include <stdint.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        struct text data;
        struct why why;
        if (sys_read_file(argv[i], 64U << 20, &data, &why) != OK) {
            fprintf(stderr, "%s\n", why.text);
            return 1;
        }
        LLVMFuzzerTestOneInput((const uint8_t *)data.data, data.len);
        memory_free((void *)data.data);
    }
    printf("%d inputs replayed\n", argc - 1);
    return 0;
}
