/* Stops the file systems mounted at the places given, in that order, as a loss of power would: from
 * then on neither their journals nor their dirty pages reach the device. Says "armed" when all is
 * ready, and strikes at the first byte that it reads, at once; at the end of its input it just ends.
 * Refuses whatever is not the root of a file system of its own on a loop device, so that no mistake
 * can stop one of the machine's. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define SHUTDOWN _IOR('X', 125, unsigned) /* EXT4_IOC_SHUTDOWN, also of XFS */
#define NO_LOG_FLUSH 2u                   /* EXT4_GOING_FLAGS_NOLOGFLUSH */
#define LOOP_MAJOR 7u

static int own_root_on_loop(int place)
{
    struct stat here, above;
    return fstat(place, &here) == 0 && fstatat(place, "..", &above, 0) == 0 &&
           here.st_dev != above.st_dev && major(here.st_dev) == LOOP_MAJOR;
}

int main(int count, char **paths)
{
    int places[8];
    if (count < 2 || count > 8)
        return 2;
    for (int at = 1; at < count; at++) {
        places[at] = open(paths[at], O_RDONLY | O_DIRECTORY);
        if (places[at] < 0) {
            perror(paths[at]);
            return 1;
        }
        if (!own_root_on_loop(places[at])) {
            fprintf(stderr, "%s: no file system of its own on a loop device\n", paths[at]);
            return 2;
        }
    }
    puts("armed");
    fflush(stdout);
    if (getchar() == EOF)
        return 0;
    for (int at = 1; at < count; at++) {
        unsigned how = NO_LOG_FLUSH;
        if (ioctl(places[at], SHUTDOWN, &how) != 0) {
            perror(paths[at]);
            return 1;
        }
    }
    return 0;
}
