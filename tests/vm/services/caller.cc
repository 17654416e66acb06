// SPDX-License-Identifier: LGPL-2.1-or-later
// Holds a connection to the message bus, as most daemons do: calls it twice a second, and connects again when it
// finds the connection closed. Each second it prints a line of KEY=VALUE; a line that begins with FAIL says what went
// wrong.
#include <errno.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>

namespace {

constexpr useconds_t kPause = 500'000;

// An answer, or the error of a connection that is closed.
int call(sd_bus* bus) {
  sd_bus_message* answer = nullptr;
  int done = sd_bus_call_method(bus, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetId",
                                nullptr, &answer, nullptr);
  sd_bus_message_unref(answer);
  return done;
}

}  // namespace

int main() {
  sd_bus* bus = nullptr;
  uint64_t calls = 0, connections = 0, failures = 0;
  for (uint64_t line = 1;; ++line) {
    if (!bus && sd_bus_open_system(&bus) >= 0) ++connections;
    if (bus) {
      int done = call(bus);
      calls += done >= 0;
      if (done < 0) {
        if (done != -ENOTCONN && done != -ECONNRESET && done != -EPIPE) {
          ++failures;
          dprintf(STDOUT_FILENO, "FAIL call: %s\n", strerror(-done));
        }
        bus = sd_bus_flush_close_unref(bus);
      }
    }
    if (line % 2 == 0)
      dprintf(STDOUT_FILENO, "caller line=%lu calls=%lu connections=%lu failures=%lu\n", line / 2, calls, connections,
              failures);
    ::usleep(kPause);
  }
}
