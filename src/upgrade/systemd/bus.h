// SPDX-License-Identifier: LGPL-2.1-or-later
// The service manager, over its private socket: dbus-daemon is not there yet when we restore and may be gone
// when we dump.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "upgrade/job.h"
#include "upgrade/run_survey.h"
#include "upgrade/systemd/unit_state.h"

struct sd_bus;

namespace ks::upgrade {

class Bus {
 public:
  static Result<Bus> open();
  Bus(Bus&& other) noexcept;
  Bus& operator=(Bus&& other) noexcept;
  ~Bus();

  Result<std::vector<Job>> jobs() const;
  // A unit that does not exist is reported as such in its load state.
  Result<UnitState> unit(std::string_view name) const;
  // Of all loaded services.
  Result<std::vector<ServiceClaim>> claims() const;
  // Loaded units whose name fits a shell pattern.
  Result<std::vector<std::string>> units_like(const std::string& pattern) const;

  Result<> reload() const;
  // Enqueues the job and does not wait for it.
  Result<> start(const std::string& unit) const;
  Result<> stop(const std::string& unit) const;
  Result<> restart(const std::string& unit) const;

 private:
  explicit Bus(sd_bus* bus) : bus_(bus) {}
  Result<> job(const char* method, const std::string& unit) const;
  sd_bus* bus_;
};

}  // namespace ks::upgrade
