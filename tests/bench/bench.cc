// SPDX-License-Identifier: LGPL-2.1-or-later
// What the engine needs, as ratios to what this machine can do, measured in the same run:
//   bench [--memory MIB] [--rounds N] [--scale N] [memory | scale | ROW]
// ROW is "plain" or "huge", of the pages of memory, or one of the second table, like "descriptors".
// Nothing is compared with a limit: times on a shared machine prove nothing.
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "../roundtrip/family.h"
#include "rows.h"

namespace {

// Connections and what holds them back are nobody else's matter.
bool enter_network() {
  if (::unshare(CLONE_NEWNET)) return false;
  int any = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq loopback{};
  std::strcpy(loopback.ifr_name, "lo");
  loopback.ifr_flags = IFF_UP;
  return ::ioctl(any, SIOCSIFFLAGS, &loopback) == 0 && ::close(any) == 0;
}

}  // namespace

int main(int count, char** arguments) {
  ks::bench::Plan plan;
  std::string_view only;
  for (int i = 1; i < count; ++i) {
    std::string_view word = arguments[i];
    bool takes_number = i + 1 < count && (word == "--memory" || word == "--rounds" || word == "--scale");
    auto number = takes_number ? std::strtoul(arguments[i + 1], nullptr, 10) : 0;
    if (takes_number && number > 0) {
      ++i;
      if (word == "--memory") plan.mebibytes = number;
      if (word == "--rounds") plan.rounds = static_cast<int>(number);
      if (word == "--scale") plan.scale = number;
    } else if (word == "memory" || word == "scale") {
      only = word;
    } else if (word == "plain" || word == "huge") {
      only = "memory";
      plan.row = word;
    } else if (ks::bench::is_scale_row(word)) {
      only = "scale";
      plan.row = word;
    } else {
      std::fprintf(stderr, "usage: %s [--memory MIB] [--rounds N] [--scale N] [memory | scale | ROW]\n",
                   arguments[0]);
      return 2;
    }
  }
  if (::geteuid() != 0) {
    std::fputs("skipped: must be run as root\n", stderr);
    return 77;
  }
  ks::test::become_reaper();
  if (!enter_network()) {
    std::perror("a network of its own");
    return 1;
  }
  auto measured = [&]() -> ks::Result<> {
    if (only != "scale") TRY(ks::bench::measure_memory(plan));
    if (only != "memory") TRY(ks::bench::measure_scale(plan));
    return {};
  }();
  if (measured) return 0;
  std::fprintf(stderr, "%s\n", measured.error().what.c_str());
  return 1;
}
