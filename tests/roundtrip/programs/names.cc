// SPDX-License-Identifier: LGPL-2.1-or-later
// What ps shows: name (of any bytes), arguments (also changed in place), environment, auxiliary vector, executable.
#include <elf.h>
#include <sys/auxv.h>
#include <sys/prctl.h>

#include <string>

#include "program.h"

int main(int, char** arguments) {
  CHECK(prctl(PR_SET_NAME, "n\xe4) \n(x") == 0);
  memset(arguments[1], 'Z', strlen(arguments[1]));
  const char* files[] = {"/proc/self/comm", "/proc/self/cmdline", "/proc/self/environ", "/proc/self/auxv"};
  std::string before[4];
  for (int i = 0; i < 4; ++i) before[i] = content(files[i]);
  char executable[4096] = {}, after[4096] = {};
  CHECK(readlink("/proc/self/exe", executable, sizeof executable - 1) > 0);
  unsigned long vdso = getauxval(AT_SYSINFO_EHDR);
  ready();
  for (int i = 0; i < 4; ++i) CHECK(content(files[i]) == before[i]);
  CHECK(readlink("/proc/self/exe", after, sizeof after - 1) > 0 && strcmp(executable, after) == 0);
  CHECK(getauxval(AT_SYSINFO_EHDR) == vdso && memcmp(reinterpret_cast<void*>(vdso), ELFMAG, SELFMAG) == 0);
  CHECK(prctl(PR_SET_NAME, "later") == 0 && content("/proc/self/comm") == "later\n");
  return 0;
}
