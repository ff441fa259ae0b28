/* Put before the C library (LD_PRELOAD), it makes writes below one folder fail, end the process, or be written down.
 *
 * AUTOTUNE_FAULTS_BELOW  the folder; without it nothing is touched
 * AUTOTUNE_CRASH_AT=n    the process is killed in the place of its n-th write
 * AUTOTUNE_CRASH_TORN=1  and leaves half of that write behind
 * AUTOTUNE_FAIL_AT=n     the n-th write fails, AUTOTUNE_FAIL_WITH says how (an errno),
 * AUTOTUNE_FAIL_FOR=k    and so do the k - 1 after it
 * AUTOTUNE_WRITES=file   what was written is appended there, for tests/faults/power.py
 *
 * A write is whatever changes files or folders, or asks the disk to keep them. They are counted from the first one at
 * which one of the variables is set.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static long number_in(const char *name) {
  const char *text = getenv(name);
  return text ? atol(text) : 0;
}

static int below(const char *path) {
  const char *folder = getenv("AUTOTUNE_FAULTS_BELOW");
  return folder && !strncmp(path, folder, strlen(folder));
}

static int path_of(int fd, char *path, size_t size) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, size - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return below(path);
}

static void note(const char *what, const char *path, long offset, const void *data, size_t length) {
  const char *file = getenv("AUTOTUNE_WRITES");
  if (!file) return;
  int fd = REAL(open)(file, O_WRONLY | O_APPEND | O_CREAT, 0600);
  char head[8400];
  int size = snprintf(head, sizeof head, "%s\t%s\t%ld\t%zu\n", what, path, offset, length);
  if (REAL(write)(fd, head, size) != size || REAL(write)(fd, data ? data : "", length) != (ssize_t)length) abort();
  close(fd);
}

static void die(void) {
  kill(getpid(), SIGKILL);
  pause();
}

/* Count a write; return 0 if it is to happen, 1 if it has failed, and -1 where half of it is still to be left. */
static int fault(void) {
  static long count;
  long crash = number_in("AUTOTUNE_CRASH_AT"), fail = number_in("AUTOTUNE_FAIL_AT");
  if (!crash && !fail) return 0;
  count++;
  if (count == crash && number_in("AUTOTUNE_CRASH_TORN")) return -1;
  if (count == crash) die();
  if (!fail || count < fail || count >= fail + number_in("AUTOTUNE_FAIL_FOR")) return 0;
  errno = (int)number_in("AUTOTUNE_FAIL_WITH");
  return 1;
}

ssize_t write(int fd, const void *data, size_t length) {
  char path[4096];
  if (!path_of(fd, path, sizeof path)) return REAL(write)(fd, data, length);
  int how = fault();
  if (how > 0) return -1;
  note("write", path, lseek(fd, 0, SEEK_CUR), data, length);
  ssize_t done = REAL(write)(fd, data, how ? length / 2 : length);
  if (how) die();
  return done;
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
  char path[4096];
  if (!path_of(fd, path, sizeof path)) return REAL(pwrite64)(fd, data, length, offset);
  int how = fault();
  if (how > 0) return -1;
  note("write", path, offset, data, length);
  ssize_t done = REAL(pwrite64)(fd, data, how ? length / 2 : length, offset);
  if (how) die();
  return done;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return pwrite64(fd, data, length, offset); }

/* What takes a descriptor, or paths, and is done or not: there is no half of it. */
#define FAULTY(what, path, size) \
  do { \
    int how = fault(); \
    if (how > 0) return -1; \
    if (how) die(); \
    note(what, path, size, NULL, 0); \
  } while (0)

#define BY_FD(name, what) \
  int name(int fd) { \
    char path[4096]; \
    if (path_of(fd, path, sizeof path)) FAULTY(what, path, 0); \
    return REAL(name)(fd); \
  }

BY_FD(fsync, "sync")
BY_FD(fdatasync, "sync")

int ftruncate64(int fd, off64_t size) {
  char path[4096];
  if (path_of(fd, path, sizeof path)) FAULTY("cut", path, size);
  return REAL(ftruncate64)(fd, size);
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

int unlink(const char *path) {
  if (below(path)) FAULTY("remove", path, 0);
  return REAL(unlink)(path);
}

static void both(char *paths, size_t size, const char *from, const char *to) { snprintf(paths, size, "%s\v%s", from, to); }

int rename(const char *from, const char *to) {
  char paths[8192];
  both(paths, sizeof paths, from, to);
  if (below(to)) FAULTY("rename", paths, 0);
  return REAL(rename)(from, to);
}

int link(const char *from, const char *to) {
  char paths[8192];
  both(paths, sizeof paths, from, to);
  if (below(to)) FAULTY("link", paths, 0);
  return REAL(link)(from, to);
}

/* Making a file is written down, but not counted: the next write is then the first that finds it there. */
int open64(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
  va_end(more);
  int is_new = flags & O_CREAT && below(path) && access(path, F_OK);
  int fd = REAL(open64)(path, flags, mode);
  if (fd >= 0 && is_new) note("make", path, 0, NULL, 0);
  return fd;
}

int open(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
  va_end(more);
  return open64(path, flags, mode);
}
