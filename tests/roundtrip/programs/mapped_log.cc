// SPDX-License-Identifier: LGPL-2.1-or-later
// Reads a file, the argument, through shared memory, as readers of the journal do. Somebody writes on while the
// program is away, and begins a new file of that name.
#include "program.h"

int main(int, char** arguments) {
  int fd = open(arguments[1], O_RDONLY);
  CHECK(fd >= 0);
  void* memory = mmap(nullptr, 2 * kPage, PROT_READ, MAP_SHARED, fd, 0);
  CHECK(memory != MAP_FAILED && close(fd) == 0);
  const char* log = static_cast<const char*>(memory);
  ready();
  for (size_t i = 0; i < 2 * kPage; ++i) CHECK(log[i] == (i < kPage ? 'a' : 'b'));
  return 0;
}
