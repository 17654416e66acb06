// SPDX-License-Identifier: LGPL-2.1-or-later
// Pipes: content in odd pieces, capacity, flags, ends that are closed, ends that several processes hold, and a
// writer that waits for room.
#include <thread>

#include "program.h"

struct Pipe {
  int reader, writer;
};
static Pipe make(int flags = 0) {
  int fds[2];
  CHECK(pipe2(fds, flags) == 0);
  return {fds[0], fds[1]};
}
static void fill(Pipe pipe, size_t bytes, size_t piece) {
  char buffer[8192];
  for (size_t at = 0; at < bytes;) {
    size_t length = piece < bytes - at ? piece : bytes - at;
    for (size_t i = 0; i < length; ++i) buffer[i] = static_cast<char>((at + i) * 7);
    CHECK(write(pipe.writer, buffer, length) == static_cast<ssize_t>(length));
    at += length;
  }
}
static void drain(int reader, size_t bytes) {
  for (size_t at = 0; at < bytes; ++at) {
    char byte;
    CHECK(read(reader, &byte, 1) == 1 && byte == static_cast<char>(at * 7));
  }
}

int main() {
  signal(SIGPIPE, SIG_IGN);
  Pipe empty = make(O_NONBLOCK), pieces = make(), wide = make(O_CLOEXEC), no_reader = make(), no_writer = make(),
       full = make();
  fill(pieces, 1000, 13);
  CHECK(fcntl(wide.reader, F_SETPIPE_SZ, 1 << 20) == 1 << 20);
  fill(wide, 700'000, 8192);
  close(no_reader.reader);
  fill(no_writer, 100, 100);
  close(no_writer.writer);
  // One byte in a page of its own, as often as there are pages: full, though of few bytes.
  Pipe slots = make(O_DIRECT);
  for (int flags = fcntl(slots.writer, F_GETFL); flags & O_DIRECT; flags = fcntl(slots.writer, F_GETFL)) {
    for (int i = 0; i < 16; ++i) CHECK(write(slots.writer, "x", 1) == 1);
    CHECK(fcntl(slots.writer, F_SETFL, O_NONBLOCK) == 0);
  }
  fill(full, 65536, 8192);
  volatile bool written = false;
  std::thread writer([&] {
    char more[5000];
    for (size_t i = 0; i < sizeof more; ++i) more[i] = static_cast<char>((65536 + i) * 7);
    CHECK(write(full.writer, more, sizeof more) == sizeof more);
    written = true;
  });
  Pipe down = make(), up = make();
  pid_t child = fork();
  if (child == 0) {
    close(down.writer);
    close(up.reader);
    drain(down.reader, 300);
    char byte;
    CHECK(read(down.reader, &byte, 1) == 1 && byte == '!');
    fill(up, 300, 3);
    CHECK(read(down.reader, &byte, 1) == 0);  // the parent has closed
    _exit(0);
  }
  close(down.reader);
  close(up.writer);
  fill(down, 300, 300);
  usleep(10'000);
  ready();
  char byte;
  CHECK(read(empty.reader, &byte, 1) == -1 && errno == EAGAIN);
  drain(pieces.reader, 1000);
  CHECK(fcntl(wide.reader, F_GETPIPE_SZ) == 1 << 20 && fcntl(pieces.reader, F_GETPIPE_SZ) == 65536);
  drain(wide.reader, 700'000);
  CHECK(write(no_reader.writer, "x", 1) == -1 && errno == EPIPE);
  drain(no_writer.reader, 100);
  CHECK(read(no_writer.reader, &byte, 1) == 0);
  for (int i = 0; i < 16; ++i) CHECK(read(slots.reader, &byte, 1) == 1 && byte == 'x');
  CHECK(!written);
  drain(full.reader, 65536 + 5000);
  writer.join();
  CHECK(write(down.writer, "!", 1) == 1);
  drain(up.reader, 300);
  close(down.writer);
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  CHECK(read(up.reader, &byte, 1) == 0);
  return 0;
}
