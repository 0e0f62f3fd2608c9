// Counted(): numbers before nouns.
#pragma once

#include "longspan/counted.h"
