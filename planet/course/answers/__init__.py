"The answers of the course's exercises, their inputs and the common mistakes; look only after trying."
