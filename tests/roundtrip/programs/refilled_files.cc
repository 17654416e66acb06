// SPDX-License-Identifier: LGPL-2.1-or-later
// Files of a directory, the argument, that is emptied and filled again while the program is away, as a private /tmp:
// mapped shared and private, open, and executable.
#include "program.h"

static std::string place;
static std::string in(const char* name) { return place + "/" + name; }
static char* map(const char* name, int flags, int protection, int sharing) {
  int fd = open(in(name).c_str(), flags);
  CHECK(fd >= 0);
  void* at = mmap(nullptr, 2 * kPage, protection, sharing, fd, 0);
  CHECK(at != MAP_FAILED && close(fd) == 0);
  return static_cast<char*>(at);
}
static void make(const char* name, char first) {
  int fd = open(in(name).c_str(), O_RDWR | O_CREAT | O_EXCL, 0700);
  CHECK(fd >= 0);
  alignas(kPage) static char page[kPage];
  for (int i = 0; i < 2; ++i) {
    memset(page, first + i, kPage);
    CHECK(write(fd, page, kPage) == kPage);
  }
  CHECK(close(fd) == 0);
}

int main(int, char** arguments) {
  place = arguments[1];
  make("shared", 'a');
  make("private", 'c');
  make("code", 'e');
  char* shared = map("shared", O_RDWR, PROT_READ | PROT_WRITE, MAP_SHARED);
  char* reader = map("shared", O_RDONLY, PROT_READ, MAP_SHARED);
  char* own = map("private", O_RDONLY, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  char* code = map("code", O_RDONLY, PROT_READ | PROT_EXEC, MAP_PRIVATE);
  int file = open(in("shared").c_str(), O_RDWR);
  CHECK(file >= 0);
  shared[0] = 'A';
  own[0] = 'C';
  ready();
  CHECK(shared[0] == 'A' && shared[1] == 'a' && shared[kPage] == 'b' && reader[0] == 'A');
  CHECK(own[0] == 'C' && own[1] == 'c' && own[kPage] == 'd' && code[0] == 'e' && code[kPage] == 'f');
  shared[1] = 'B';
  char byte;
  CHECK(pread(file, &byte, 1, 1) == 1 && byte == 'B' && reader[1] == 'B');
  struct stat open_one, named;
  CHECK(fstat(file, &open_one) == 0 && stat(in("shared").c_str(), &named) == 0);
  CHECK(open_one.st_ino == named.st_ino && open_one.st_dev == named.st_dev);
}
