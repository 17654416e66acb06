// SPDX-License-Identifier: LGPL-2.1-or-later
// A directory that is read in pieces: each entry comes once, those before and those after.
#include <dirent.h>

#include <set>
#include <string>

#include "program.h"

struct Entry {
  uint64_t inode, next;
  unsigned short bytes;
  unsigned char type;
  char name[1];
};
static bool read_piece(int fd, size_t room, std::set<std::string>& seen) {
  alignas(Entry) char bytes[4096];
  long got = syscall(SYS_getdents64, fd, bytes, room);
  CHECK(got >= 0);
  for (long at = 0; at < got;) {
    auto* entry = reinterpret_cast<Entry*>(bytes + at);
    CHECK(seen.insert(entry->name).second);
    at += entry->bytes;
  }
  return got > 0;
}

int main() {
  CHECK(mkdir("many", 0700) == 0);
  for (int i = 0; i < 500; ++i) CHECK(close(open(("many/entry-" + std::to_string(i)).c_str(), O_CREAT, 0600)) == 0);
  int half = open("many", O_RDONLY | O_DIRECTORY), done = open("many", O_RDONLY | O_DIRECTORY);
  CHECK(half >= 0 && done >= 0);
  std::set<std::string> of_half, of_done;
  for (int i = 0; i < 3; ++i) CHECK(read_piece(half, 1000, of_half));
  while (read_piece(done, 4096, of_done)) continue;
  CHECK(of_half.size() > 20 && of_half.size() < 200 && of_done.size() == 502);
  ready();
  CHECK(!read_piece(done, 4096, of_done));
  while (read_piece(half, 1000, of_half)) continue;
  CHECK(of_half == of_done);
  return 0;
}
