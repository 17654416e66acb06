// SPDX-License-Identifier: LGPL-2.1-or-later
// FIFOs, with both ends open, one of them, or one for both directions, on a disk, in memory, and deleted; and packets
// in pipes, mixed with plain data.
#include "program.h"

static void expect(int fd, const char* text, size_t room = 100) {
  char bytes[8192];
  ssize_t got = read(fd, bytes, room);
  CHECK(got == static_cast<ssize_t>(strlen(text)) && memcmp(bytes, text, strlen(text)) == 0);
}
static void put(int fd, const char* text) {
  CHECK(write(fd, text, strlen(text)) == static_cast<ssize_t>(strlen(text)));
}

int main() {
  signal(SIGPIPE, SIG_IGN);
  for (auto name : {"both", "reader", "writer", "two-way", "only-path"}) CHECK(mkfifo(name, 0640) == 0);
  int reader = open("both", O_RDONLY | O_NONBLOCK), writer = open("both", O_WRONLY),
      second = open("both", O_WRONLY | O_NONBLOCK);
  put(writer, "one");
  put(second, "two");
  CHECK(fcntl(writer, F_SETPIPE_SZ, 1 << 17) == 1 << 17);
  int lone_reader = open("reader", O_RDONLY | O_NONBLOCK), helper = open("reader", O_WRONLY);
  put(helper, "left behind");
  close(helper);
  int other_helper = open("writer", O_RDONLY | O_NONBLOCK), lone_writer = open("writer", O_WRONLY);
  put(lone_writer, "kept");
  close(other_helper);
  int two_way = open("two-way", O_RDWR | O_CLOEXEC), path_only = open("only-path", O_PATH);
  put(two_way, "round");
  CHECK(reader >= 0 && writer >= 0 && second >= 0 && lone_reader >= 0 && lone_writer >= 0 && two_way >= 0 &&
        path_only >= 0);

  char memory[64], in_memory[80];
  snprintf(memory, sizeof memory, "/dev/shm/kernel-swap-fifo-%d", getpid());
  snprintf(in_memory, sizeof in_memory, "%s/fifo", memory);
  CHECK(mkdir(memory, 0751) == 0 && chmod(memory, 0751) == 0 && mkfifo(in_memory, 0600) == 0);
  CHECK(chown(in_memory, 3, 4) == 0 && chmod(in_memory, 0624) == 0 && mkfifo("gone", 0600) == 0);
  int kept = open(in_memory, O_RDWR), gone = open("gone", O_RDONLY | O_NONBLOCK),
      gone_writer = open("gone", O_WRONLY);
  CHECK(kept >= 0 && gone >= 0 && gone_writer >= 0 && unlink("gone") == 0);
  put(kept, "memory");
  put(gone_writer, "nameless");

  int packets[2], mixed[2], shared[2];
  CHECK(pipe2(packets, O_DIRECT | O_NONBLOCK) == 0 && pipe2(mixed, O_DIRECT) == 0 && pipe(shared) == 0);
  put(packets[1], "first");
  put(packets[1], "x");
  put(packets[1], "third");
  put(mixed[1], "packet");
  CHECK(fcntl(mixed[1], F_SETFL, 0) == 0);
  put(mixed[1], "plain ");
  put(mixed[1], "text");
  // Opened again: descriptions of their own on one end.
  char name[64];
  snprintf(name, sizeof name, "/proc/self/fd/%d", shared[0]);
  int again = open(name, O_RDONLY | O_NONBLOCK), around = open(name, O_RDWR);
  CHECK(again >= 0 && around >= 0);
  close(shared[1]);
  ready();
  expect(reader, "onetwo");
  CHECK(fcntl(reader, F_GETPIPE_SZ) == 1 << 17 && fcntl(reader, F_GETFL) & O_NONBLOCK &&
        !(fcntl(writer, F_GETFL) & O_NONBLOCK));
  char byte;
  CHECK(read(reader, &byte, 1) == -1 && errno == EAGAIN);
  put(second, "more");
  expect(reader, "more");
  close(writer);
  close(second);
  CHECK(read(reader, &byte, 1) == 0);
  expect(lone_reader, "left behind");
  CHECK(read(lone_reader, &byte, 1) == 0);
  CHECK(write(lone_writer, "x", 1) == -1 && errno == EPIPE);
  int late = open("writer", O_RDONLY | O_NONBLOCK);
  expect(late, "kept");
  expect(two_way, "round");
  put(two_way, "again");
  expect(two_way, "again");
  CHECK(fcntl(two_way, F_GETFD) == FD_CLOEXEC && read(path_only, &byte, 1) == -1 && errno == EBADF);

  struct stat facts;
  CHECK(stat(memory, &facts) == 0 && (facts.st_mode & 07777) == 0751);
  CHECK(stat(in_memory, &facts) == 0 && facts.st_uid == 3 && facts.st_gid == 4 && facts.st_mode == (S_IFIFO | 0624));
  int beside = open(in_memory, O_WRONLY);
  put(beside, " kept");
  expect(kept, "memory kept");
  CHECK(unlink(in_memory) == 0 && rmdir(memory) == 0);
  CHECK(fstat(gone, &facts) == 0 && facts.st_nlink == 0 && access("gone", F_OK) < 0);
  expect(gone, "nameless");
  close(gone_writer);
  CHECK(read(gone, &byte, 1) == 0);

  expect(packets[0], "fi", 2);  // the rest of a packet is gone
  expect(packets[0], "x");
  expect(packets[0], "third");
  put(packets[1], "a");
  put(packets[1], "b");
  expect(packets[0], "a");
  expect(mixed[0], "packet");
  expect(mixed[0], "plain text");
  CHECK(read(again, &byte, 1) == -1 && errno == EAGAIN);
  put(around, "through");
  expect(shared[0], "through");
  close(around);
  CHECK(read(again, &byte, 1) == 0);
  return 0;
}
