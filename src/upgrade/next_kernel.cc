// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/next_kernel.h"

#include <fmt/core.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"
#include "upgrade/json.h"

namespace ks::upgrade {

namespace {

// From the announcement to the dump it takes seconds, or as long as somebody may delay a shutdown
// (InhibitDelayMaxSec= of logind.conf(5)). One that is older was left by a `now` that was killed, and another kernel
// may have been loaded.
constexpr int64_t kLongestSeconds = 600;

int64_t seconds_since_boot() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return now.tv_sec;
}

std::string mark_of(const struct stat& status) {
  return fmt::format("{}:{}:{}:{}.{}:{}.{}", status.st_dev, status.st_ino, status.st_size, status.st_mtim.tv_sec,
                     status.st_mtim.tv_nsec, status.st_ctim.tv_sec, status.st_ctim.tv_nsec);
}

Result<engine::NextKernel> read_announcement(const std::string& path) {
  auto text = read_file(path);
  if (!text) return fail("nobody has said which kernel that is, as \"kernel-swap now\" does");
  Json json = TRY(Json::parse(*text));
  if (seconds_since_boot() - TRY(json.integer("since_boot")) > kLongestSeconds)
    return fail("what was said of it is too old");
  KernelFile file = TRY(open_kernel(TRY(json.string("image"))));
  if (file.mark != TRY(json.string("mark"))) return fail(file.path + ": has changed since it was loaded");
  return file.kernel;
}

}  // namespace

Result<KernelFile> open_kernel(const std::string& path) {
  std::error_code error;
  std::string absolute = std::filesystem::absolute(path, error);
  Fd file = TRY(open_file(error ? path : absolute, O_RDONLY));
  struct stat status{};
  if (::fstat(file.get(), &status)) return fail_errno(path);
  return KernelFile{
      .path = absolute, .mark = mark_of(status), .kernel = engine::NextKernel::of_file(std::move(file), absolute)};
}

Result<> announce(const KernelFile& file, const std::string& announcement) {
  struct stat status{};
  if (::stat(file.path.c_str(), &status)) return fail_errno(file.path);
  if (mark_of(status) != file.mark) return refuse(file.path + ": has changed while it was being loaded; try again");
  Json json = Json::object();
  json.set("image", file.path).set("mark", file.mark).set("since_boot", seconds_since_boot());
  std::filesystem::path parent = std::filesystem::path(announcement).parent_path();
  if (::mkdir(parent.c_str(), 0755) && errno != EEXIST) return fail_errno(parent.string());
  return replace_file(announcement, json.text(), 0644);
}

void withdraw_announcement(const std::string& announcement) { ::unlink(announcement.c_str()); }

engine::NextKernel announced_kernel(const std::string& target, const std::string& announcement) {
  if (target != "kexec.target")
    return engine::NextKernel::unknown("an ordinary reboot does not tell which one boots");
  auto kernel = read_announcement(announcement);
  return kernel ? *kernel : engine::NextKernel::unknown(kernel.error().what);
}

}  // namespace ks::upgrade
