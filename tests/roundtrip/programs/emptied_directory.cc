// SPDX-License-Identifier: LGPL-2.1-or-later
// Lives in a directory on disk, the argument, that a boot empties, as Debian's /tmp: an open file, one that is mapped
// as a JVM's counters are, a FIFO with content, a socket that listens, and its working directory.
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "program.h"

int main(int, char** arguments) {
  std::string place = std::string(arguments[1]) + "/own";
  CHECK(mkdir(place.c_str(), 0751) == 0 && chown(place.c_str(), 12, 34) == 0);
  CHECK(mkdir((place + "/deep").c_str(), 0700) == 0 && chdir((place + "/deep").c_str()) == 0);
  int file = open((place + "/file").c_str(), O_RDWR | O_CREAT, 0640);
  CHECK(write(file, "content", 7) == 7);
  int counters = open((place + "/counters").c_str(), O_RDWR | O_CREAT, 0600);
  CHECK(ftruncate(counters, kPage) == 0);
  void* mapped = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, counters, 0);
  CHECK(mapped != MAP_FAILED && close(counters) == 0);
  fill_page(mapped, 1);
  CHECK(mkfifo((place + "/fifo").c_str(), 0600) == 0);
  int fifo = open((place + "/fifo").c_str(), O_RDWR);
  CHECK(write(fifo, "waits", 5) == 5);
  int listener = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{.sun_family = AF_UNIX};
  strcpy(address.sun_path, (place + "/socket").c_str());
  CHECK(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 && listen(listener, 3) == 0);
  ready();
  char bytes[8];
  struct stat facts, named;
  CHECK(fstat(file, &facts) == 0 && stat((place + "/file").c_str(), &named) == 0 && facts.st_ino == named.st_ino);
  CHECK((named.st_mode & 07777) == 0640 && pread(file, bytes, 8, 0) == 7 && memcmp(bytes, "content", 7) == 0);
  CHECK(lseek(file, 0, SEEK_CUR) == 7 && page_is(mapped, 1));
  fill_page(mapped, 2);
  std::string now = content(place + "/counters");
  CHECK(now.size() == kPage && page_is(now.data(), 2));
  int again = open((place + "/fifo").c_str(), O_RDONLY | O_NONBLOCK);
  CHECK(read(again, bytes, 8) == 5 && memcmp(bytes, "waits", 5) == 0);
  CHECK(connect(client, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 &&
        accept(listener, nullptr, nullptr) >= 0);
  CHECK(stat(place.c_str(), &named) == 0 && named.st_uid == 12 && named.st_gid == 34 &&
        (named.st_mode & 07777) == 0751);
  char* here = getcwd(nullptr, 0);
  CHECK(here && here == place + "/deep" && stat(".", &named) == 0 && (named.st_mode & 07777) == 0700);
  return 0;
}
