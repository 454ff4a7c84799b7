"The course's side of the code, exported from notebooks 10 to 13."
