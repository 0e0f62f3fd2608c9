// The weights of an update on their way to the other ranks, while the next forward pass runs.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "longspan/world.h"
#include "model/parameter_shares.h"
#include "model/parameters.h"
#include "world/transport.h"

namespace longspan {

// Every rank gets the weights that the others have updated. They are sent in the order of the
// table, which is that of a forward pass, and received where they belong: there is no second copy
// of them. While they are on their way the table asks this object before it shows any, and then
// waits for those alone that are read: for a layer's when the layer runs.
//
// Of each update: Updated, and before the next one reads a weight Send; or AwaitAll. What is not
// there in the end, because a rank has failed, is never shown: the table then throws kPeer.
class WeightExchange final : public ValuesToCome {
 public:
  // `world`: null for one process, whose weights are always there. It must outlive this.
  WeightExchange(World* world, std::shared_ptr<const ParameterShares> shares);
  // Does not wait. Nothing moves messages on afterwards that have not arrived.
  ~WeightExchange() override;
  WeightExchange(const WeightExchange&) = delete;
  WeightExchange& operator=(const WeightExchange&) = delete;

  // `table` has the weights that this rank has updated, and old ones in the place of the others'.
  // It stays where it is until all have arrived.
  void Updated(ParameterTable& table);
  // They are sent from now on. Not before what ranks ask each other between two updates: that would
  // wait for the first ones. Does not wait. All ranks call it, or AwaitAll. kIo.
  void Send();
  // kPeer; kUsage before Send, because the other ranks may be where they do not send.
  void Await(idx_t begin, idx_t end) override;
  // Sends if that is still to be done. All ranks call it. kPeer.
  void AwaitAll() override;

 private:
  struct Arriving {
    idx_t begin, end;  // of ParameterTable::values()
    std::unique_ptr<Message> message;
  };

  // Forgets messages that are done, from the first on. Ends the exchange if it was the last one.
  void DropDone();

  World* world_;
  const std::shared_ptr<const ParameterShares> shares_;
  ParameterTable* table_ = nullptr;  // null: nothing is on its way
  bool is_sent_ = false;
  std::vector<Arriving> arriving_;  // ascending
  std::vector<std::unique_ptr<Message>> sent_;
  std::size_t next_arriving_ = 0, next_sent_ = 0;  // those before are done
};

}  // namespace longspan
