// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/swap_store.h"

#include <fmt/chrono.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <filesystem>

#include "base/file.h"
#include "base/text.h"
#include "upgrade/json.h"

namespace ks::upgrade {

namespace {

constexpr size_t kIdDigits = 6;
constexpr std::array kFates = {Fate::restored, Fate::cold, Fate::failed};

Result<> make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0700)) return fail_errno(path);
  return {};
}

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

// A directory that others could have filled is none of ours.
Result<> require_private(const std::string& path) {
  struct stat status{};
  if (::lstat(path.c_str(), &status)) return fail_errno(path);
  if (!S_ISDIR(status.st_mode) || status.st_uid != 0 || (status.st_mode & 077))
    return fail(path + ": must be a directory of root with mode 0700");
  return {};
}

}  // namespace

std::string_view to_string(Fate fate) {
  switch (fate) {
    case Fate::restored:
      return "restored";
    case Fate::cold:
      return "cold";
    case Fate::failed:
      return "failed";
  }
  return "";
}

Swap::Swap(std::string directory) : directory_(std::move(directory)) {}

std::string Swap::id() const { return std::filesystem::path(directory_).filename(); }

Result<> Swap::commit(const Manifest& manifest) const {
  for (const CarriedUnit& unit : manifest.units) TRY(replace_file(directory_ + "/pending/" + unit.name, "0\n", 0600));
  TRY(replace_file(directory_ + "/open", "", 0600));
  return replace_file(directory_ + "/manifest", to_text(manifest), 0600);
}

Result<Manifest> Swap::manifest() const {
  std::string path = directory_ + "/manifest";
  return in(path, parse_manifest(TRY(read_file(path))));
}

std::optional<int> Swap::pending(std::string_view unit) const {
  auto text = read_file(directory_ + "/pending/" + std::string(unit));
  if (!text) return std::nullopt;
  // Not a number after a damaged write: then an attempt was being counted.
  return parse_number<int>(trim(*text)).value_or(1);
}

Result<> Swap::begin_attempt(std::string_view unit) const {
  auto attempts = pending(unit);
  if (!attempts) return fail("the image is no longer pending");
  return replace_file(directory_ + "/pending/" + std::string(unit), fmt::format("{}\n", *attempts + 1), 0600);
}

Result<> Swap::withdraw(std::string_view unit) const {
  auto taken = take(unit);
  if (!taken && taken.error().code == ENOENT) return sync_directory(directory_ + "/pending");
  return taken;
}

Result<> Swap::take(std::string_view unit) const {
  std::string path = directory_ + "/pending/" + std::string(unit);
  if (::unlink(path.c_str())) return fail_errno(path);
  return sync_directory(directory_ + "/pending");
}

Result<> Swap::record(std::string_view unit, const Outcome& outcome) const {
  Json json = Json::object();
  json.set("fate", to_string(outcome.fate)).set("reason", outcome.reason).set("pause_seconds", outcome.pause_seconds);
  return replace_file(directory_ + "/outcome/" + std::string(unit), json.text(), 0600);
}

std::optional<Outcome> Swap::outcome(std::string_view unit) const {
  auto parsed = [&]() -> Result<Outcome> {
    Json json = TRY(Json::parse(TRY(read_file(directory_ + "/outcome/" + std::string(unit)))));
    Outcome outcome{.reason = TRY(json.string("reason")), .pause_seconds = TRY(json.number("pause_seconds"))};
    std::string fate = TRY(json.string("fate"));
    auto known = std::ranges::find(kFates, fate, [](Fate f) { return to_string(f); });
    if (known == kFates.end()) return fail("unknown fate " + fate);
    outcome.fate = *known;
    return outcome;
  }();
  if (!parsed) return std::nullopt;
  return *parsed;
}

bool Swap::is_open() const { return exists(directory_ + "/open"); }

Result<> Swap::close() const {
  std::string path = directory_ + "/open";
  if (::unlink(path.c_str()) && errno != ENOENT) return fail_errno(path);
  return sync_directory(directory_);
}

Result<> Swap::remove_image(std::string_view unit) const {
  TRY(remove_tree(places(unit)));
  return remove_tree(image(unit));
}

Result<> Swap::remove() const {
  // Without its manifest it is no swap any more, however far we get with the rest.
  std::string manifest = directory_ + "/manifest";
  if (::unlink(manifest.c_str()) && errno != ENOENT) return fail_errno(manifest);
  return remove_tree(directory_);
}

void Swap::note(std::string_view phase, std::string_view unit, std::string_view text) const {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  std::string line = fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z {} {} {}\n", fmt::gmtime(now.tv_sec),
                                 now.tv_nsec / 1000000, phase, unit.empty() ? "-" : unit, text);
  auto file = open_file(directory_ + "/journal", O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0600);
  if (file) (void)write_all(file->get(), line, "journal");
}

std::string Swap::journal() const { return read_file(directory_ + "/journal").value_or(""); }

Result<Swap> SwapStore::create() const {
  if (::mkdir(root_.c_str(), 0700) && errno != EEXIST) return fail_errno(root_);
  TRY(require_private(root_));
  auto existing = swaps();
  unsigned last = existing.empty() ? 0 : parse_number<unsigned>(existing.back().id()).value_or(0);
  Swap swap(fmt::format("{}/{:0{}}", root_, last + 1, kIdDigits));
  TRY(make_directory(swap.directory()));
  TRY(make_directory(swap.directory() + "/pending"));
  TRY(make_directory(swap.directory() + "/outcome"));
  TRY(sync_directory(root_));
  return swap;
}

std::vector<Swap> SwapStore::swaps() const {
  std::vector<std::string> names = list_directory(root_).value_or(std::vector<std::string>{});
  std::erase_if(names,
                [](const std::string& name) { return name.size() != kIdDigits || !parse_number<unsigned>(name); });
  std::ranges::sort(names);
  std::vector<Swap> swaps;
  swaps.reserve(names.size());
  for (const std::string& name : names) swaps.emplace_back(root_ + "/" + name);
  return swaps;
}

std::optional<Swap> SwapStore::newest() const {
  auto all = swaps();
  for (auto swap = all.rbegin(); swap != all.rend(); ++swap)
    if (exists(swap->directory() + "/manifest")) return *swap;
  return std::nullopt;
}

std::optional<Swap> SwapStore::open_swap(std::string_view boot_id) const {
  auto swap = newest();
  if (!swap || !swap->is_open()) return std::nullopt;
  auto manifest = swap->manifest();
  if (!manifest || manifest->boot_id == boot_id) return std::nullopt;
  return swap;
}

}  // namespace ks::upgrade
