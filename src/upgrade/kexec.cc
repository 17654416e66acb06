// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/kexec.h"

#include <unistd.h>

#include <vector>

#include "base/file.h"
#include "base/text.h"
#include "upgrade/program.h"

namespace ks::upgrade {

namespace {

constexpr char kDisabled[] = "/proc/sys/kernel/kexec_load_disabled";
constexpr char kLockdown[] = "/sys/kernel/security/lockdown";

std::string one_line(std::string_view text) {
  std::string line;
  for (std::string_view part : split(text, '\n'))
    if (!trim(part).empty()) line += (line.empty() ? "" : "; ") + std::string(trim(part));
  return line;
}

Result<ProgramEnd> run_kexec(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "kexec");
  auto end = run_program(arguments);
  if (!end && end.error().code == ENOENT) return fail("kexec: not found; install kexec-tools", ENOENT);
  return end;
}

}  // namespace

std::string parse_lockdown(std::string_view text) {
  size_t open = text.find('['), close = text.find(']');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) return "none";
  return std::string(text.substr(open + 1, close - open - 1));
}

bool file_load_refused(std::string_view output) {
  for (std::string_view sign : {"Operation not permitted", "Function not implemented", "not available"})
    if (output.find(sign) != std::string_view::npos) return true;
  return false;
}

Result<> require_kexec() {
  if (::geteuid() != 0) return fail("only root can do this", EPERM);
  auto disabled = read_file(kDisabled);
  if (!disabled) return fail("this kernel was built without kexec (no " + std::string(kDisabled) + ")", ENOSYS);
  if (trim(*disabled) != "0")
    return fail(std::string(kDisabled) + " is " + std::string(trim(*disabled)) +
                    ": kexec is switched off until the next reboot",
                EPERM);
  auto end = TRY(run_kexec({"--version"}));
  if (end.status != 0) return fail("kexec --version: " + one_line(end.output));
  return {};
}

Result<> load_kernel(const KernelImage& kernel, const std::string& command_line, std::string& note) {
  std::vector<std::string> arguments = {"-s", "-l", kernel.image, "--command-line=" + command_line};
  if (!kernel.initrd.empty()) arguments.push_back("--initrd=" + kernel.initrd);
  auto by_file = TRY(run_kexec(arguments));
  if (by_file.status == 0) return {};
  std::string lockdown = parse_lockdown(read_file(kLockdown).value_or(""));
  std::string cause = one_line(by_file.output);
  if (lockdown != "none") cause += " (the kernel is locked down: " + lockdown + ")";
  if (!file_load_refused(by_file.output)) return fail("kexec -s: " + kernel.image + ": " + cause);

  arguments[0] = "-c";
  auto by_segments = TRY(run_kexec(arguments));
  if (by_segments.status != 0)
    return fail("kexec -s: " + cause + "; kexec -c: " + one_line(by_segments.output), EPERM);
  note = "kexec_file_load was refused (" + cause + "); the kernel was loaded by kexec_load instead";
  return {};
}

Result<> unload_kernel() {
  auto end = TRY(run_kexec({"-u"}));
  if (end.status != 0) return fail("kexec -u: " + one_line(end.output));
  return {};
}

}  // namespace ks::upgrade
