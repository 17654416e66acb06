// SPDX-License-Identifier: LGPL-2.1-or-later
// What is on disk of the swaps, newest and earlier ones:
//
//   /var/lib/kernel-swap/000007/manifest          the commit record
//                              /journal           what happened, a line each
//                              /open              until finish has settled the swap
//                              /pending/UNIT      this image has not been used; holds the number of attempts
//                              /outcome/UNIT      what became of the unit
//                              /UNIT/             the image
//                              /UNIT.places/      what lay in the unit's private /tmp and below /run
//
// Everything is root's alone: whoever can write an image can become root.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "upgrade/manifest.h"

namespace ks::upgrade {

inline constexpr std::string_view kStore = "/var/lib/kernel-swap";
inline constexpr int kAttempts = 2;  // a restore that was cut short (a panic, a power cut) is tried once more

enum class Fate { restored, cold, failed };
std::string_view to_string(Fate fate);

struct Outcome {
  Fate fate = Fate::cold;
  std::string reason;        // of a cold start or a failure; what there is to say of a restore
  double pause_seconds = 0;  // of a restored unit: from its freeze to its thaw
};

class Swap {
 public:
  explicit Swap(std::string directory);

  std::string id() const;
  const std::string& directory() const { return directory_; }
  std::string image(std::string_view unit) const { return directory_ + "/" + std::string(unit); }
  std::string places(std::string_view unit) const { return image(unit) + ".places"; }

  // The commit: pending marks first, then the manifest by rename, each synced. After it the swap exists.
  Result<> commit(const Manifest& manifest) const;
  // ENOENT: never committed.
  Result<Manifest> manifest() const;

  // Attempts made with an image that may still be used; nothing where it may not.
  std::optional<int> pending(std::string_view unit) const;
  Result<> begin_attempt(std::string_view unit) const;  // synced
  Result<> withdraw(std::string_view unit) const;       // synced; an image withdrawn before is no error
  Result<> take(std::string_view unit) const;           // the same for its only use: there it is one

  Result<> record(std::string_view unit, const Outcome& outcome) const;
  std::optional<Outcome> outcome(std::string_view unit) const;

  bool is_open() const;
  Result<> close() const;
  Result<> remove_image(std::string_view unit) const;
  Result<> remove() const;

  // One line; a failure to write it stops nothing.
  void note(std::string_view phase, std::string_view unit, std::string_view text) const;
  std::string journal() const;

 private:
  std::string directory_;
};

class SwapStore {
 public:
  SwapStore() : root_(kStore) {}
  explicit SwapStore(std::string root) : root_(std::move(root)) {}

  const std::string& root() const { return root_; }
  Result<Swap> create() const;
  std::vector<Swap> swaps() const;     // oldest first; those never committed too
  std::optional<Swap> newest() const;  // the newest committed one
  // A swap of an earlier boot that is not settled yet.
  std::optional<Swap> open_swap(std::string_view boot_id) const;

 private:
  std::string root_;
};

}  // namespace ks::upgrade
