// SPDX-License-Identifier: LGPL-2.1-or-later
// Stands before /usr/bin/systemctl in root's PATH. It must never be in the way: all but our verb goes to the
// real one, arguments, name, environment and exit status untouched.
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "upgrade/config.h"
#include "upgrade/dispatcher/verb.h"

int main(int argc, char** argv) {
  std::vector<std::string_view> words(argv + (argc > 0), argv + argc);
  auto what = ks::upgrade::dispatch(words);
  if (!what.ours) {
    for (const char* real : {"/usr/bin/systemctl", "/bin/systemctl"}) ::execv(real, argv);
    std::fprintf(stderr, "systemctl: /usr/bin/systemctl: %s\n", std::strerror(errno));
    return 127;
  }
  if (!what.error.empty()) {
    std::fprintf(stderr, "%s\n", what.error.c_str());
    return 2;
  }
  std::vector<char*> arguments = {const_cast<char*>("kernel-swap")};
  for (std::string& argument : what.arguments) arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  ::execv(KS_COMMAND, arguments.data());
  std::fprintf(stderr, "%s: %s\n", KS_COMMAND, std::strerror(errno));
  return 127;
}
