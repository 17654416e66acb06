// SPDX-License-Identifier: LGPL-2.1-or-later
// /usr/lib/systemd/system-generators/kernel-swap-generator NORMAL [EARLY LATE]
#include <unistd.h>

#include <cstdlib>

#include "base/file.h"
#include "upgrade/config.h"
#include "upgrade/generator/generate.h"
#include "upgrade/machine.h"
#include "upgrade/swap_store.h"
#include "upgrade/unit_files.h"

namespace {

void complain(const std::string& text) {
  std::string line = "<4>kernel-swap-generator: " + text + "\n";  // <4>: a warning
  auto log = ks::open_file("/dev/kmsg", O_WRONLY);
  (void)ks::write_all(log ? log->get() : STDERR_FILENO, line, "log");
}

}  // namespace

int main(int argc, char** argv) {
  using namespace ks;
  if (argc < 2) {
    complain("usage: kernel-swap-generator DIRECTORY...");
    return EXIT_SUCCESS;
  }
  upgrade::Places places{.out = argv[1],
                         .store = std::string(upgrade::kStore),
                         .run = upgrade::kRunDirectory,
                         .proc_sys = "/proc/sys",
                         .libexec = KS_LIBEXEC,
                         .boot_id = upgrade::boot_id(),
                         .kernel_command_line = read_file("/proc/cmdline").value_or(""),
                         .unit_directories = upgrade::unit_directories()};
  for (const std::string& text : upgrade::generate(places)) complain(text);
  return EXIT_SUCCESS;
}
